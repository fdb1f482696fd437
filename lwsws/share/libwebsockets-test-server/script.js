// What the example page does, a file for each of its parts.

import "./live/questions.js";
import "./live/counter.js";
import "./live/board.js";
import "./live/visitors.js";
import "./live/echo.js";
import "./live/upload.js";
