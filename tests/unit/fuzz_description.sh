#!/bin/sh
# SPDX-License-Identifier: MIT
# tests/fuzz/kiln_accel.txt, for syzkaller, has every ioctl, constant, structure and field of the uapi header, in its width.
cd "$(dirname "$0")/../.." || exit
exec python3 - include/uapi/drm/kiln_accel.h tests/fuzz/kiln_accel.txt <<'END'
import re
import sys

header, text = (open(name).read() for name in sys.argv[1:])
header = re.sub(r"/\*.*?\*/", "", header, flags=re.S)
text = re.sub(r"^#.*$", "", text, flags=re.M)
number = failed = 0


def same(got, expected, what):
    global number, failed
    number += 1
    print(f"{'' if got == expected else 'not '}ok {number} - {what}")
    if got != expected:
        failed += 1
        print(f"# expected {expected}\n# got {got}")


# Of the header: structures as lists of (field, bits), ioctls with their structure, and all other constants.
structs = {name: [(field, int(bits)) for bits, field in re.findall(r"__[us](\d+) (\w+);", body)]
           for name, body in re.findall(r"struct (\w+) \{(.*?)\n\};", header, re.S)}
ioctls = {name: (way, struct) for name, way, struct in
          re.findall(r"#define DRM_IOCTL_(KILN_\w+) \\\n\tDRM_(IOW|IOR|IOWR)\(.*?struct (\w+)\)", header)}
constants = set(re.findall(r"^\s*(?:#define )?(DRM_KILN_\w+)\s*(?:=|\(|0x)", header, re.M))
constants -= {"DRM_" + name for name in ioctls}

# Of the description: the same. A resource is as wide as it says.
resources = {name: base for name, base in re.findall(r"^resource (\w+)\[(\w+)\]", text, re.M)}


def width(kind):
    kind = resources.get(kind, kind)
    if kind.startswith("ptr64"):
        return 64
    found = re.findall(r"\bint(8|16|32|64)\b", kind)
    return 32 if kind == "fd" else int(found[-1]) if found else None


described = {name: [(field, width(kind)) for field, kind in re.findall(r"^\t(\w+)\t([^\t\n]+)", body, re.M)]
             for name, body in re.findall(r"^(\w+) \{\n(.*?)^\}", text, re.M | re.S)}
calls = {name: ({"in": "IOW", "out": "IOR", "inout": "IOWR"}[way], struct) for name, constant, way, struct in
         re.findall(r"^ioctl\$(KILN_\w+)\(fd fd_kiln, cmd const\[DRM_IOCTL_(\w+)\], arg ptr\[(\w+), (\w+)\]\)", text, re.M)
         if name == constant}

same(len(structs) > 10 and len(ioctls) > 10 and len(constants) > 10, True, "the header is understood")
for name in sorted(structs):
    same(described.get(name), structs[name], f"struct {name}")
for name in sorted(ioctls):
    same(calls.get(name), ioctls[name], f"DRM_IOCTL_{name}")
for name in sorted(constants):
    same(bool(re.search(rf"\b{name}\b", text)), True, name)
same(sorted(set(re.findall(r"\bDRM_KILN_\w+", text)) - constants), [], "and no constant that is not there")
print(f"1..{number}")
sys.exit(failed != 0)
END
