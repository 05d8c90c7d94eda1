#!/usr/bin/env python3
"""Records what the real sops makes of JSON, dotenv, INI and YAML texts: python3 record_formats.py SOPS AGE_KEYGEN

Each text is encrypted in its own format (sops encrypt) and decrypted into every format
(sops decrypt --output-type T); what comes out, or null for an error, goes into formats.json. The
generated part is seeded.
"""
import json, os, random, subprocess, sys, tempfile
from concurrent.futures import ThreadPoolExecutor

SOPS, KEYGEN = sys.argv[1:3]
FOLDER = tempfile.mkdtemp()
KEY = os.path.join(FOLDER, "key")
subprocess.run([KEYGEN, "-o", KEY], check=True, stderr=subprocess.DEVNULL)
RECIPIENT = next(l.split()[-1] for l in open(KEY) if l.startswith("# public key"))
ENV = {"PATH": os.environ["PATH"], "HOME": FOLDER, "SOPS_AGE_KEY_FILE": KEY}
TYPES = ["yaml", "json", "dotenv", "ini"]

FIXED = {
    "json": ['{}', '{"a": 1}', '{"a": 1.0, "b": 1e5, "c": -0, "d": 1e-7, "e": 1e21, "f": 123456789012345678901234567890, "g": 9223372036854775807}',
             '{"a": {"b": "x"}, "c": {"d": "y=z", "e": "#h", "f": "l\\nm"}}', '{"a": [1, "x", {"b": null}], "c": true}', '{"a": 1, "a": 2}',
             '{"a": "\\ud800", "b": "\\u00e9<>&", "c": "\\u2028"}', '[1]', '1', '', '{"a": 1,}', '{"a": 1e999}', '{"a": "b\\nc", "d": " e ", "f": ""}',
             '{"s": {"k": null, "l": 1.5, "m": true, "n": 100000.0}}', '\ufeff{}', '{"a" : tru}'],
    "dotenv": ['A=1\n', 'A=1\r\nB=2\r\n', '#c\nA=x=y\\nz\n\nexport B= q \n#end', 'A', '=x\n', 'A=1\nA=2\n', ' #x\n', 'A="q" # c\n', '\ufeffA=1\n'],
    "ini": ['a=1\n', '[s]\na=1\n', '; h\n[s] ; i\na = b ; c\n# d\n; e\nf : g\n', '[s]\na = `x#y`\nb = """m\nn"""\n', "[s]\na='q'\nb=\"r\"\nc=\"a\"b\"\n",
            '[s]\na = x \\\n  y\nb=\\\n\n', '[a]\nx=1\n[a]\nx=2\n', 'a\n', '[a\n', '=x\n', '[]\n', '"k=v" = 1\n`a:b` = 2\n', '[s]\nlong_key = 1\nk=2\n; end\n',
            '[s]\na=#only\nb= ;c\n', '[s]\r\na = b\r\n\r\n; c\r\nd = e\r\n', '[ s ]\na=1\n', '\ufeff[s]\na=1\n', '[DEFAULT]\na=1\n', 'a=1\n[DEFAULT]\nb=2\n',
            '#### T ####\n[s]\nx=y\n', '[s]\nempty=\n'],
    "yaml": ['a: 1\n', '# c\na: x # i\nb:\n  # d\n  c: [1, 2.5, 1e9]\n  d: 2024-01-01\n# f\n', 'a: 1\n---\nb: 2\n', 's:\n  k: v\n  l: "a;b"\n  m: " x"\n', 'a: ~\nb: true\nc: 1.0\n',
             'a: |\n  x\n  y\n', 'a: {b: {c: 1}}\n', 'a: .inf\n', 's:\n  # one\n  k: v # two\n  # three\n', 'a:\n- # x\n  b: 1\n- c\n'],
}

def generated():
    rng = random.Random(20261121)
    word = lambda: rng.choice(["a", "key", "long_key", "x.y", "k-1", "é", "A B"])
    value = lambda: rng.choice(["", "v", "two words", "1", "1.5", "true", "a#b", "a;b", "'q'", '"q"', "'", '"', "it's", "a=b", "a:b", " x ", "`r`", '"""t"""',
                                "C:\\d", "x\\", "é€", "\t", "[x]", "\\n", "a\\nb", "%(a)s", '"a" ; "b"', "`x` ; y", "'a'b'"])
    for _ in range(90):
        lines = []
        for _ in range(rng.randint(1, 6)):
            lines.append(rng.choice(["[%s]" % word(), "; c%d" % rng.randint(0, 9), "# d", "", "  # e ", "[%s] ; h" % word()]) if rng.random() < .4
                         else rng.choice(["", "  "]) + word() + str(rng.randint(0, 99)) + rng.choice([" = ", "=", ":", " : "]) + value() + rng.choice(["", "", " ; n", "#m"]))
        yield "ini", rng.choice(["\n", "\n", "\r\n"]).join(lines) + rng.choice(["\n", ""])
    for _ in range(40):
        lines = [rng.choice(["# c", "", "#", word() + "=" + value(), "export " + word() + " = " + value()]) for _ in range(rng.randint(1, 6))]
        yield "dotenv", "\n".join(lines) + rng.choice(["\n", ""])
    def tree(depth):
        kind = rng.random()
        if depth and kind < .25:
            return [tree(depth - 1) for _ in range(rng.randint(0, 3))]
        if depth and kind < .5:
            return {word() + str(i): tree(depth - 1) for i in range(rng.randint(0, 3))}
        return rng.choice([None, True, 0, -5, 1.5, 1e-9, 3.0, 2**53, "", "x", "<é>", "a\nb", " # ", "yes", "1", "\u0007", "\u2028", "\U0001f600"])
    for i in range(70):
        root = {word() + str(i): tree(rng.randint(0, 3)) for i in range(rng.randint(1, 4))}
        yield "json", json.dumps(root, indent=rng.choice([None, 2]), ensure_ascii=rng.random() < .5)
    for i in range(30):
        yield "ini-like json", json.dumps({word() + str(i): {word() + str(j): rng.choice([1, 2.0, None, True, "x", "a;b", "a\nb", " p ", "`", "a=b"]) for j in range(3)} for i in range(3)})

def run(number, kind, text):
    path = os.path.join(FOLDER, "f%d" % number)
    with open(path, "wb") as f:
        f.write(text.encode())
    made = subprocess.run([SOPS, "encrypt", "--age", RECIPIENT, "--input-type", kind, "--output-type", kind, path], env=ENV, capture_output=True)
    row = {"type": kind, "input": text, "accepted": made.returncode == 0, "output": {}}
    if made.returncode == 0:
        with open(path, "wb") as f:
            f.write(made.stdout)
        for out in TYPES:
            got = subprocess.run([SOPS, "decrypt", "--input-type", kind, "--output-type", out, path], env=ENV, capture_output=True)
            try:
                row["output"][out] = got.stdout.decode() if got.returncode == 0 else None
            except UnicodeDecodeError:
                row["output"][out] = None
    os.unlink(path)
    return row

inputs = [(k, t) for k, ts in FIXED.items() for t in ts]
inputs += [("json" if "json" in k else k, t) for k, t in generated()]
with ThreadPoolExecutor(2) as pool:
    rows = list(pool.map(lambda a: run(a[0], *a[1]), enumerate(inputs)))
version = subprocess.run([SOPS, "--version", "--disable-version-check"], env=ENV, capture_output=True, text=True).stdout.splitlines()[0]
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "formats.json"), "w") as f:
    json.dump({"recorded_with": version, "rows": rows}, f, ensure_ascii=False, indent=0)
print(len(rows), "texts,", sum(r["accepted"] for r in rows), "accepted")
