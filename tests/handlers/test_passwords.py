"""Stored passwords: published vectors, hashes of other programs, what is refused and what is written."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path

import pytest

from lwsws.handlers import passwords
from lwsws.handlers.passwords import is_hash, make_hash, needs_worker, unsupported, verify

ROOT = Path(__file__).resolve().parents[2]

# The vectors of Drepper's specification, "Unix crypt using SHA-256 and SHA-512".
DREPPER = [
    ("Hello world!", "$6$saltstring$",
     "svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1"),
    ("Hello world!", "$6$rounds=10000$saltstringsaltst$",
     "OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0Dp8vOuZeHBy/YTBmSK6H9qs/y3RnOaw5v."),
    ("This is just a test", "$6$rounds=5000$toolongsaltstrin$",
     "lQ8jolhgVRVhY4b5pZKaysCLi0QBxGoNeKQzQ3glMhwllF7oGDZxUhx1yxdYcz/e1JSbq3y6JMxxl8audkUEm0"),
    ("a very much longer text to encrypt.  This one even stretches over morethan one line.",
     "$6$rounds=1400$anotherlongsalts$",
     "POfYwTEok97VWcjxIiSOjiykti.o/pQs.wPvMxQ6Fm7I6IoYN3CmLs66x9t0oSwbtEW7o7UmJEiDwGqd8p4ur1"),
    ("we have a short salt string but not a short password", "$6$rounds=77777$short$",
     "WuQyW2YR.hBNpjjRhpYD/ifIw05xdfeEyQoMxIXbkvr0gge1a1x3yRULJ5CCaUeOxFmtlcGZelFl5CxtgfiAc0"),
    ("a short string", "$6$rounds=123456$asaltof16chars..$",
     "BtCwjqMJGx5hrJhZywWvt0RLE8uZ4oPwcelCjmw2kSYu.Ec6ycULevoBK25fs2xXgMNrCzIMVcgEJAstJeonj1"),
    ("the minimum number is still observed", "$6$rounds=1000$roundstoolow$",
     "kUMsbe306n21p9R.FRkW3IGn.S9NPN0x50YhH1xhLsPuWGsUSklZt58jaTfF4ZEQpyUNGc0dqbpBYYBaHHrsX."),
    ("the minimum number is still observed", "$6$rounds=10$roundstoolow$",
     "kUMsbe306n21p9R.FRkW3IGn.S9NPN0x50YhH1xhLsPuWGsUSklZt58jaTfF4ZEQpyUNGc0dqbpBYYBaHHrsX."),
]

# Made by other programs, named in the id.
OTHERS = [
    pytest.param("se:cret", "$6$a.b/Z9$",
                 "LlHWmow/aYcWmoenTMr9CLxOkvTPZy3/JShSS11sBoIarB6T9yQnhIKCVw68Omg1uujoQSHJNRwUL/n/XTvaS/",
                 id="openssl passwd -6"),
    pytest.param("päss wörd", "$6$rounds=1500$0123456789abcdef$",
                 "dFktOo9MgCWt.X18EcLwTWBkzLZ/DsBN9I7P1b9OuyJdRcVYwnQYSTP/iboTnZT33NQkskIY6cnoG8fW9iTid0",
                 id="mkpasswd -m sha-512 -R 1500"),
    pytest.param("x" * 200, "$6$rounds=1000$longpw$",
                 "I.TraCRKGD9TZtf4DrHj0L3nZmFFJocAdREkU1zt1BvYUANyZsH6ttudkGMfb4hgXWVx329/4udSRHAV9Av4o0",
                 id="crypt(3), longer than a digest"),
    pytest.param("", "$6$emptypw$",
                 "TWmzQ8/uLn1BFSZ5Lkfum8lAba5vixF9Nl3Aiof.Praatq9nh0kkPuTdoVrIL6du0L6LAoadbPq.q.D7keveg/",
                 id="crypt(3), empty"),
    pytest.param("passé", "$scrypt$ln=10,r=8,p=1$MDEyMzQ1Njc4OWFiY2RlZg$",
                 "WjWbFWXFKD+IFa1wvFiQHN2IGOjeuHcjcNBwQQ+C7Gk", id="passlib scrypt"),
    pytest.param("password", "$scrypt$ln=14,r=8,p=1$c2FsdA$",
                 "dFcxr0SE8yOWiWntoomu7gBbWQOsVh5kpayhIXl793M",
                 id="passlib scrypt, 16 MiB"),
    pytest.param("password", "$pbkdf2-sha256$1000$.//.NTY3ODlhYmNkZWY$",
                 "b1lTVZTx5KQlKw.apFha7JiwF2K5sdQHbC/CFaynObA", id="passlib pbkdf2_sha256"),
    pytest.param("s:e cret", "$pbkdf2-sha256$29000$c2FsdHNhbHQ$",
                 "vRmvI0N58FHK/aNuB1MaqFxfA3yvawYLkeMzm.hGT8c",
                 id="passlib pbkdf2_sha256, 29000 rounds"),
]

# Hashes of the password "pw" that we know but cannot check, with the word that the advice must hold.
FOREIGN = [
    ("$1$abc$Kb85XxsXB.VXinPhbS4431", "MD5-crypt"),
    ("$apr1$abc$NKxAkoTtUloZMd1uGIvNG0", "Apache's MD5-crypt"),
    ("$y$j9T$QCANxlWEKdyL3ykCkb6xA/$Y6YXhNQHRx1Y6RgHSq9o0s2fTutEj4HVqkgOjgBvmCA", "yescrypt"),
    ("$gy$j9T$rm9NFVwIxZ88Cp4xSjOag.$k4YWnVJckr7GwMJJvbISDitzdrJbRXxzIfOvfjMw4I.", "gost-yescrypt"),
    ("$7$CU..../....XYDV4lccH9BWQgPVals2h0$4d4Or1x4UEgQYPcScVMyeOpOIieQZ8R3YHFhmYBjYb4",
     "scrypt of crypt(3)"),
    ("$2b$05$IrLhtahi6GB7SPHktEFY8OYOUrcEcin1LQcd/vRX2i3gJ5zesdN4i", "bcrypt"),
    ("$2a$05$uEDXs.Wdy2Heasoyn5wNl.Kig8ximscEyY/X.vN0mtYjY4/mpDwwq", "bcrypt"),
    ("$2y$05$uEDXs.Wdy2Heasoyn5wNl.Kig8ximscEyY/X.vN0mtYjY4/mpDwwq", "bcrypt"),
    ("$5$lB5gQC75dieVnwgx$x.UiwZLX1hsjZCBANmyx3OCmBA0tM2kqZSBbfGY8zm8", "SHA-256-crypt"),
    ("$md5,rounds=46926$DhgdJjcV$$PvJEaOzHUv5YO/8Db8.Dy0", "SunMD5"),
    ("$3$$8cc19b6a8cfeac299c2871c86b38de28", "NT-Hash"),
    ("$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ$dFcxr0SE8yOWiWntoomu7gBbWQOsVh5kpayhIXl793M", "Argon2"),
    ("{SHA}GkFhCsxyOTiu0gQwXfwwUPyO/qo=", "{SHA}"),
    ("{SSHA}GkFhCsxyOTiu0gQwXfwwUPyO/qoAAAAA", "{SSHA}"),
    ("$new-kdf$v=1$c2FsdHNhbHQ$dFcxr0SE8yOWiWntoomu7gBbWQOsVh5kpayhIXl793M", "this kind of hash"),
]

DIGEST_43 = "A" * 43
DIGEST_86 = "." * 86
MALFORMED = [
    "$6$",
    "$6$salt",
    "$6$salt$" + DIGEST_86[1:],
    "$6$salt$" + DIGEST_86 + ".",
    "$6$salt$" + DIGEST_86 + "\n",
    "$6$salt$" + DIGEST_86 + ":18000:0:99999:7:::",          # a whole line of a shadow file
    "$6$saltofseventeench$" + DIGEST_86,
    "$6$rounds=$salt$" + DIGEST_86,
    "$6$rounds=$" + DIGEST_86,
    "$6$rounds=+1000$salt$" + DIGEST_86,                      # LESSONS F6: int() takes these
    "$6$rounds=1_000$salt$" + DIGEST_86,
    "$6$rounds=١٠٠٠$salt$" + DIGEST_86,
    "$6$rounds=1234567890$salt$" + DIGEST_86,
    "$6$sält$" + DIGEST_86,
    "$scrypt$",
    "$scrypt$ln=14,r=8$c2FsdA$" + DIGEST_43,
    "$scrypt$ln=0,r=8,p=1$c2FsdA$" + DIGEST_43,
    "$scrypt$ln=014,r=8,p=1$c2FsdA$" + DIGEST_43,
    "$scrypt$r=8,ln=14,p=1$c2FsdA$" + DIGEST_43,
    "$scrypt$ln=14,r=8,p=1$c2FsdA==$" + DIGEST_43,
    "$scrypt$ln=14,r=8,p=1$c2Fs.A$" + DIGEST_43,
    "$scrypt$ln=14,r=8,p=1$c$" + DIGEST_43,                   # no base64 has this length
    "$scrypt$ln=14,r=8,p=1$c2FsdA$" + DIGEST_43[1:],
    "$scrypt$ln=14,r=8,p=1$" + "c" * 400 + "$" + DIGEST_43,
    "$pbkdf2-sha256$0$c2FsdA$" + DIGEST_43,
    "$pbkdf2-sha256$-1$c2FsdA$" + DIGEST_43,
    "$pbkdf2-sha256$1000$c2+sdA$" + DIGEST_43,
    "$pbkdf2-sha256$1000$c2FsdA$" + DIGEST_43 + "$",
    "$pbkdf2-sha256$1000$" + "c" * 600 + "$" + DIGEST_43,
]
TOO_COSTLY = [
    "$6$rounds=500001$salt$" + DIGEST_86,
    "$6$rounds=999999999$salt$" + DIGEST_86,
    "$pbkdf2-sha256$2000001$c2FsdA$" + DIGEST_43,
    "$pbkdf2-sha256$4294967295$c2FsdA$" + DIGEST_43,
    "$scrypt$ln=17,r=8,p=1$c2FsdA$" + DIGEST_43,              # 128 MiB
    "$scrypt$ln=16,r=9,p=1$c2FsdA$" + DIGEST_43,
    "$scrypt$ln=16,r=8,p=5$c2FsdA$" + DIGEST_43,
    "$scrypt$ln=99,r=8,p=1$c2FsdA$" + DIGEST_43,
    "$scrypt$ln=1,r=9999,p=9999$c2FsdA$" + DIGEST_43,
]
PLAIN = ["", "secret", "se:cret", "#", "$", "$$", "$$$", "$cash$", "$cash$money", "a$6$b", "x{SHA}", "{sha",
         "{}x", "{PLAIN}x", " $6$salt$" + DIGEST_86, "$UPPER$x$" + DIGEST_43, "6$salt$" + DIGEST_86]


@pytest.mark.parametrize("password, settings, digest", [*DREPPER, *OTHERS])
def test_hashes_of_others_are_verified(password: str, settings: str, digest: str) -> None:
    data, stored = password.encode(), settings + digest
    assert verify(data, stored)
    assert not verify(data + b" ", stored)
    assert not verify(data[:-1] if data else b"x", stored)
    assert is_hash(stored)
    assert needs_worker(stored)
    assert unsupported(stored) is None


@pytest.mark.parametrize("password, salt, costs, digest", [
    # RFC 7914 section 12; the first half of its 64 bytes is what 32 bytes are.
    ("password", "NaCl", "$scrypt$ln=10,r=8,p=16$",
     "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162"),
    ("pleaseletmein", "SodiumChloride", "$scrypt$ln=14,r=8,p=1$",
     "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"),
    # RFC 7914 section 11.
    ("passwd", "salt", "$pbkdf2-sha256$1$",
     "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"),
    ("Password", "NaCl", "$pbkdf2-sha256$80000$",
     "4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56"),
])
def test_vectors_of_rfc_7914(password: str, salt: str, costs: str, digest: str) -> None:
    def text(data: bytes) -> str:
        encoded = base64.b64encode(data).decode().rstrip("=")
        return encoded.replace("+", ".") if "pbkdf2" in costs else encoded

    stored = f"{costs}{text(salt.encode())}${text(bytes.fromhex(digest))}"
    assert verify(password.encode(), stored)
    assert not verify(salt.encode(), stored)


@pytest.mark.parametrize("place", range(42))
def test_every_character_of_the_digest_counts(place: int) -> None:
    digest = "b1lTVZTx5KQlKw.apFha7JiwF2K5sdQHbC/CFaynObA"
    changed = digest[:place] + ("B" if digest[place] != "B" else "C") + digest[place + 1:]
    assert not verify(b"password", "$pbkdf2-sha256$1000$.//.NTY3ODlhYmNkZWY$" + changed)


@pytest.mark.parametrize("scheme, start", [
    ("scrypt", "$scrypt$ln=14,r=8,p=1$"),
    ("pbkdf2", "$pbkdf2-sha256$600000$"),
    ("sha512", "$6$rounds=50000$"),
])
def test_what_is_made_is_verified(scheme: str, start: str) -> None:
    stored = make_hash("pä:ss".encode(), scheme)
    assert stored.startswith(start)
    assert ":" not in stored
    assert unsupported(stored) is None
    assert needs_worker(stored)
    assert verify("pä:ss".encode(), stored)


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The costs are the least there may be, for what does not depend on them."""
    monkeypatch.setattr(passwords, "SCRYPT_COSTS", (1, 8, 1))
    monkeypatch.setattr(passwords, "PBKDF2_ROUNDS", 1)
    monkeypatch.setattr(passwords, "SHA512_ROUNDS", passwords.SHA512_MIN_ROUNDS)


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize("scheme", passwords.SCHEMES)
def test_each_has_a_salt_and_lets_in_nothing_else(scheme: str) -> None:
    stored = make_hash("pä:ss".encode(), scheme)
    assert verify("pä:ss".encode(), stored)
    assert not verify(b"pass", stored)
    assert make_hash("pä:ss".encode(), scheme) != stored


def test_scrypt_is_what_is_made_by_default() -> None:
    assert make_hash(b"x").startswith("$scrypt$")


def test_unknown_scheme() -> None:
    with pytest.raises(ValueError, match="no scheme 'md5': give one of scrypt, pbkdf2, sha512"):
        make_hash(b"x", "md5")


@pytest.mark.parametrize("stored, name", FOREIGN)
def test_foreign_hashes_are_named_and_let_nobody_in(stored: str, name: str) -> None:
    """LESSONS 3.27: neither the password nor the hash itself gets in."""
    assert is_hash(stored)
    assert not needs_worker(stored)
    assert unsupported(stored) == f"{name} is not supported: run lwsws passwd"
    assert not verify(b"pw", stored)
    assert not verify(stored.encode(), stored)


@pytest.mark.parametrize("stored", MALFORMED)
def test_malformed_hashes_are_still_hashes(stored: str) -> None:
    """LESSONS 3.27: a hash with a slip in it is not a plain password."""
    assert is_hash(stored)
    assert not needs_worker(stored)
    why = unsupported(stored)
    assert why is not None
    assert why.startswith("malformed ")
    assert not verify(b"", stored)
    assert not verify(stored.encode(), stored)


@pytest.mark.parametrize("stored", TOO_COSTLY)
def test_absurd_costs_are_refused_without_work(stored: str) -> None:
    why = unsupported(stored)
    assert why is not None
    assert "costs too much" in why
    assert not needs_worker(stored)
    assert not verify(b"pw", stored)


def test_the_dearest_scrypt_that_is_allowed_works() -> None:
    stored = "$scrypt$ln=16,r=8,p=1$c2FsdA$" + DIGEST_43
    assert needs_worker(stored)
    assert not verify(b"pw", stored)


@pytest.mark.parametrize("stored", PLAIN)
def test_plain_secrets_are_no_hashes(stored: str) -> None:
    assert not is_hash(stored)
    assert not needs_worker(stored)
    assert unsupported(stored) is None
    assert not verify(stored.encode(), stored)


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize("scheme", passwords.SCHEMES)
def test_a_stored_hash_is_not_its_own_password(scheme: str) -> None:
    """LESSONS 3.27."""
    stored = make_hash(b"x", scheme)
    assert not verify(stored.encode(), stored)


def test_very_long_passwords_are_refused_without_work() -> None:
    long = b"x" * (passwords.MAX_PASSWORD + 1)
    with pytest.raises(ValueError, match="at most 1024 bytes"):
        make_hash(long)
    assert not verify(long, "".join(DREPPER[0][1:]))


def test_without_scrypt_in_python() -> None:
    """Some builds of OpenSSL leave scrypt out: then there is advice, and no way in."""
    program = """if True:
        import hashlib
        del hashlib.scrypt
        from lwsws.handlers import passwords
        stored = "$scrypt$ln=14,r=8,p=1$c2FsdA$dFcxr0SE8yOWiWntoomu7gBbWQOsVh5kpayhIXl793M"
        print(passwords.unsupported(stored), passwords.is_hash(stored), passwords.verify(b"password", stored))
        try:
            passwords.make_hash(b"x")
        except passwords.SchemeMissing as error:
            print(error)
        passwords.PBKDF2_ROUNDS = 1
        print(passwords.verify(b"x", passwords.make_hash(b"x", "pbkdf2")))
    """
    output = subprocess.check_output([sys.executable, "-c", program], cwd=ROOT, text=True)
    assert output.splitlines() == [
        "this Python was built without scrypt: run lwsws passwd -s pbkdf2 True False",
        "this Python was built without scrypt: use pbkdf2 or sha512",
        "True",
    ]
