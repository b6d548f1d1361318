"""The frames and messages of the Orchestry cluster protocol, version 1: a table of messages.md and what reads and writes
it. Standard library only. `encode` and `decode` work on plain values: a message is its name and a dictionary of its
fields, named as in messages.md (README.md, "The vectors", says how each type looks)."""
import collections
import ipaddress
import re
import struct
import unicodedata

ERRORS = {1: "frame-too-short", 2: "frame-too-long", 3: "unknown-type", 4: "truncated", 5: "spare-bytes",
          6: "bad-varint", 7: "bad-text", 8: "too-long", 9: "bad-value", 10: "reserved-bits"}
LIMITS = {"hello": 1024, "control": 1 << 20, "bulk": 16 << 20}
VERSION = 1
U64 = (1 << 64) - 1


class WireError(Exception):
    """The bytes are wrong. `name` is one of ERRORS."""

    def __init__(self, name):
        super().__init__(name)
        self.name = name
        self.code = next(code for code, known in ERRORS.items() if known == name)


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def left(self):
        return len(self.data) - self.at

    def take(self, count):
        if count > self.left():
            raise WireError("truncated")
        self.at += count
        return self.data[self.at - count:self.at]

    def varint(self):
        value = 0
        for shift in range(0, 70, 7):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if value > U64 or (shift == 63 and byte > 1):
                raise WireError("bad-varint")
            if byte < 0x80:
                if byte == 0 and shift > 0:
                    raise WireError("bad-varint")
                return value

    def length(self, limit):
        length = self.varint()
        if length > limit:
            raise WireError("too-long")
        if length > self.left():  # An element takes at least a byte, so this is right for counts too.
            raise WireError("truncated")
        return length


def check(good):
    if not good:
        raise WireError("bad-value")


def write_varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


# A kind of field: read(reader) -> value, write(value) -> bytes.
Kind = collections.namedtuple("Kind", "read write")


def ranged(low, high):
    def read(reader):
        value = reader.varint()
        check(low <= value <= high)
        return value
    return Kind(read, write_varint)


def fixed(form, low=None, high=None):
    def read(reader):
        value = struct.unpack(form, reader.take(struct.calcsize(form)))[0]
        check(low is None or low <= value <= high)  # A comparison with not-a-number is false.
        return value
    return Kind(read, lambda value: struct.pack(form, value))


def words(*names, first=0):
    def read(reader):
        value = reader.take(1)[0] - first
        check(0 <= value < len(names))
        return names[value]
    return Kind(read, lambda value: bytes([names.index(value) + first]))


def text(limit, rule=lambda text: True):
    def read(reader):
        raw = reader.take(reader.length(limit))
        try:
            value = raw.decode("utf-8")
        except UnicodeDecodeError:
            raise WireError("bad-text") from None
        check(rule(value))
        return value
    return Kind(read, lambda value: write_varint(len(value.encode())) + value.encode())


def byte_string(*lengths):
    def read(reader):
        raw = reader.take(reader.length(max(lengths)))
        check(len(raw) in lengths)
        return raw.hex()
    return Kind(read, lambda value: write_varint(len(value) // 2) + bytes.fromhex(value))


def some_bytes(limit):
    """At least one."""
    def read(reader):
        raw = reader.take(reader.length(limit))
        check(raw)
        return raw.hex()
    return Kind(read, lambda value: write_varint(len(value) // 2) + bytes.fromhex(value))


def many(limit, kind):
    return Kind(lambda reader: [kind.read(reader) for _ in range(reader.length(limit))],
                lambda values: write_varint(len(values)) + b"".join(kind.write(value) for value in values))


def some(limit, kind):
    """At least one."""
    def read(reader):
        values = many(limit, kind).read(reader)
        check(values)
        return values
    return Kind(read, many(limit, kind).write)


FLAGS = "\0flags"  # A pair (FLAGS, names) in a record: which of the named fields follow, bit 0 first.


def record(*fields):
    flagged = next((names for field, names in fields if field == FLAGS), ())
    bare = [name for name in flagged if name not in dict(fields)]  # A bit that says it all.

    def read(reader):
        result, present = {}, ()
        for field, kind in fields:
            if field == FLAGS:
                flags = reader.take(1)[0]
                if flags >> len(flagged):
                    raise WireError("reserved-bits")
                present = [name for bit, name in enumerate(flagged) if flags >> bit & 1]
                result.update((name, True) for name in bare if name in present)
            elif field not in flagged or field in present:
                result[field] = kind.read(reader)
        return result

    def write(value):
        out = b""
        for field, kind in fields:
            if field == FLAGS:
                out += bytes([sum(1 << bit for bit, name in enumerate(flagged) if name in value)])
            elif field in value:
                out += kind.write(value[field])
        return out
    return Kind(read, write)


def in_form(kind, form):
    """A document that must have a form (see `fits`)."""
    def read(reader):
        value = kind.read(reader)
        check(fits(value, form))
        return value
    return Kind(read, kind.write)


# --- Primitive types of framing.md

LABEL = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


def is_name(value):
    return 0 < len(value) <= 63 and LABEL.issuperset(value) and value[0] != "-" != value[-1]


NAME = text(63, is_name)
INSTANCE = text(80, lambda value: value != "" and LABEL.issuperset(value))
VARINT = EPOCH = ranged(0, U64)
SMALL, COUNTER, SIZE = ranged(0, 2**31 - 1), ranged(0, 2**32), ranged(0, 2**53 - 1)
SEQUENCE, PORT = ranged(0, 2**63 - 1), ranged(1, 65535)
TIME = ranged(0, 253_402_300_799_999)
FLAG = Kind(lambda reader: words(False, True).read(reader), lambda value: bytes([value]))


def read_zigzag(reader):
    raw = reader.varint()
    return (raw >> 1) ^ -(raw & 1)


def write_zigzag(value):
    return write_varint((value << 1 ^ value >> 63) & U64)


def read_exit_code(reader):
    value = read_zigzag(reader)
    check(-2**31 <= value < 2**31)
    return value


F64 = fixed(">d", -1.7976931348623157e308, 1.7976931348623157e308)
DOCUMENT_TEXT, KEY = text(4_194_304), text(1024)


def read_document(reader, depth=1):
    if depth > 64:
        raise WireError("too-long")
    tag = reader.take(1)[0]
    check(tag < 8)
    if tag < 3:
        return (None, False, True)[tag]
    if tag < 6:
        return (read_zigzag, F64.read, DOCUMENT_TEXT.read)[tag - 3](reader)
    if tag == 6:
        return [read_document(reader, depth + 1) for _ in range(reader.length(1_048_576))]
    result, last, canonical = {}, None, set()
    for _ in range(reader.length(1_048_576)):
        key = KEY.read(reader)
        check(last is None or last < key.encode())
        last = key.encode()
        result[key] = read_document(reader, depth + 1)
        check(unicodedata.normalize("NFC", key) not in canonical)
        canonical.add(unicodedata.normalize("NFC", key))
    return result


def write_document(value):
    if value is None or value is False or value is True:
        return bytes([(None, False, True).index(value)])
    if isinstance(value, int):
        return b"\3" + write_zigzag(value)
    if isinstance(value, float):
        return b"\4" + F64.write(value)
    if isinstance(value, str):
        return b"\5" + DOCUMENT_TEXT.write(value)
    if isinstance(value, list):
        return b"\6" + write_varint(len(value)) + b"".join(map(write_document, value))
    members = sorted(value.items(), key=lambda member: member[0].encode())
    return b"\7" + write_varint(len(members)) + b"".join(KEY.write(key) + write_document(v) for key, v in members)


DOCUMENT = Kind(read_document, write_document)

# --- Forms of documents: a type, a tuple of allowed words, a rule, [form of every item], {"*": form of every member}, or
# {member: form}, where "member?" may be absent or null and members beyond the form are ignored.


def fits(value, form):
    if isinstance(form, dict) and "*" in form:
        return isinstance(value, dict) and all(fits(item, form["*"]) for item in value.values())
    if isinstance(form, dict):
        return isinstance(value, dict) and all(
            (key[-1] == "?" and value.get(key[:-1]) is None)
            or (key.rstrip("?") in value and fits(value[key.rstrip("?")], part)) for key, part in form.items())
    if isinstance(form, list):
        return isinstance(value, list) and all(fits(item, form[0]) for item in value)
    if isinstance(form, tuple):
        return value in form
    if form is float or form is int:  # A reader of fractions takes whole numbers, one of whole numbers takes 60.0.
        return not isinstance(value, bool) and (
            isinstance(value, int) or isinstance(value, float) and (form is float or value.is_integer()))
    return isinstance(value, form) if isinstance(form, type) else form(value)


def app(value):
    return isinstance(value, str) and is_name(value)


def amount(value):
    return fits(value, int) or fits(value, str)


POLICY = {"unit": ("instances", "percent"), "amount": int, "periodSeconds": int}
CHECK = {"kind": ("http", "tcp", "command", "none"), "port?": int, "path": str, "method": str, "headers": {"*": str},
         "body?": str, "expectedStatuses": [int], "expectedStatusRanges?": [{"first": int, "last": int}],
         "command?": [str], "initialDelaySeconds": float, "periodSeconds": float, "timeoutSeconds": float,
         "failureThreshold": int, "successThreshold": int}
SPEC = {
    "name": app, "labels": {"*": str}, "kind": ("http", "tcp", "worker"), "image": str,
    "pullPolicy": ("always", "ifNotPresent", "never"), "command?": [str], "arguments?": [str], "workingDirectory?": str,
    "imagePullSecret?": str,
    "environment": [{"name": str, "source": lambda value: any(
        fits(value, {kind: {"_0": str}}) for kind in ("value", "sdk", "secret"))}],
    "ports": [{"containerPort": int, "scheme": ("HTTP", "TCP"), "name?": str}],
    "resources": {"cpuMillicores": int, "memoryBytes": int, "pidsLimit": int},
    "security": {"user?": str, "allowRoot": bool, "readOnlyRootFilesystem": bool, "addCapabilities": [str],
                 "seccompProfile?": str, "appArmorProfile?": str},
    "volumes?": [{"kind": ("volume", "bind", "tmpfs"), "source": str, "target": str, "readOnly": bool,
                  "sizeBytes?": int}],
    "logs?": {"maxSizeBytes?": int, "maxFiles?": int},
    "network?": {"isolated": bool},
    "routing": {"hosts": [str], "pathPrefix": str, "method": ("least_conn", "ip_hash", "random"), "listenPort?": int,
                "maxBodyBytes": int, "readTimeoutSeconds": int,
                "tls?": {"certificateSecret": str, "keySecret": str, "redirect": bool}, "allow?": [str], "deny?": [str],
                "maintenance?": {"retryAfterSeconds": int, "message?": str}},
    "termination": {"drainSeconds": int, "gracePeriodSeconds": int},
    "rollout": {"surge": amount, "unavailable": amount, "progressDeadlineSeconds": int, "minHealthySeconds?": int,
                "strategy?": ("rolling", "canary"), "canary?": {
                    "weightPercent": int, "intervalSeconds": int, "minRequests": int, "maxErrorRatePct": float,
                    "maxP95Factor?": float}, "release?": {"command": [str], "timeoutSeconds": int}},
    "health": CHECK, "liveness?": CHECK,
    "scaling": {"mode": ("auto", "manual"), "minReplicas": int, "maxReplicas": int, "targetRPS?": float,
                "maxP95LatencyMilliseconds?": float, "maxConnections?": float, "maxCPUPercent?": float,
                "maxMemoryPercent?": float, "scaleOutThresholdPercent": float, "scaleInThresholdPercent": float,
                "windowSeconds": int, "cooldownSeconds": int, "stabilizationWindowSeconds": int,
                "maxScaleOutStep?": int, "maxScaleInStep?": int, "toleranceOut": float, "toleranceIn": float,
                "scaleOutPolicies": [POLICY], "scaleInPolicies": [POLICY], "warmupSeconds": int,
                "customMetrics?": [{"name": str, "metric": str, "labels": {"*": str}, "kind": ("gauge", "counter"),
                                    "target": float, "path": str, "port?": int}],
                "schedules?": [{"name": str, "start": str, "end": str, "timeZone": str, "minReplicas?": int,
                                "maxReplicas?": int}],
                "scaleToZero?": {"idleSeconds": int, "holdSeconds": int, "holdLimit": int}}}


def anything(_):
    return True


CONDITION = {"isAbsent": bool, "tags?": [str]}
GRANT = {"role": ("viewer", "operator", "admin"), "apps?": [app],
         "verbs?": [("read", "deploy", "run", "exec", "scale", "rollout", "nodes", "secrets", "tokens", "audit", "cluster")]}
CALLER = {"name": str, "address?": str, "node?": app, "grant?": GRANT, "token?": str, "credential?": str}
OPERATIONS = {
    "register": {"document": anything, "condition?": CONDITION}, "plan": {"documents": [anything]}, "usageOfApps": {},
    "scale": {"_0": app, "replicas": int, "forSeconds?": int},
    "autoscale": {"_0": app, "_1": {"action": ("pause", "resume"), "direction": ("out", "in", "both"),
                                    "forSeconds?": int}},
    "simulate": {"_0": app, "_1": {"policy": anything, "sinceSeconds": int, "capacityPerInstance?": float,
                                   "startSeconds?": int}},
    "setPolicy": {"_0": app, "policy": anything, "condition?": CONDITION},
    "appLogs": {"_0": app, "lines": int},
    "simulateMetrics": {"_0": app, "_1": {
        "rps": float, "p95LatencyMs": float, "activeConnections": int, "cpuPercent": float, "memoryPercent": float,
        "healthyReplicas?": int, "evaluate": bool}},
    "events": {"app?": app, "limit": int}, "stepDown": {}, "listApps": {}, "systemMetrics": {},
    "listSecrets": {}, "showSecret": {"_0": str}, "removeSecret": {"_0": str, "force": bool},
    "setSecret": {"_0": {"name": str, "version": int, "keyID": str, "box": str}},
    "listTokens": {}, "tokensInForce": {}, "revokeToken": {"_0": str},
    "createToken": {"_0": {"name": str, "grant": GRANT, "expiresSeconds?": int, "hash": str}},
    "audit": {"app?": app, "after?": int, "limit": int, "isRaw": bool},
    "listNodes": {}, "rollback": {"_0": app, "to?": int}, "rebalance": {"maxMoves": int},
    "restore": {"checksum": str, "merge": bool}, "changeSettings": {"_0": anything}, "backup": {}, "listSettings": {},
    "overview": {}, "appHistory": {"_0": app, "minutes": int}, "eventsAfter": {"_0": int, "limit": int},
    "exec": {"_0": app, "_1": str, "_2": {"words": [str], "hasInput": bool, "terminal?": {"columns": int, "rows": int}}},
    "followLog": {"_0": str, "session": str, "cursor?": str, "tail?": int},
    "drainNode": {"_0": app, "deadlineSeconds": int}, **dict.fromkeys(["cordonNode", "uncordonNode"], {"_0": app}),
    **dict.fromkeys(
        ["start", "stop", "delete", "retry", "appStatus", "appDocument", "appMetrics", "why", "pauseRollout",
         "resumeRollout", "abortRollout", "rolloutStatus", "revisions"], {"_0": app})}


def operation(value):
    named = [name for name in value if name in OPERATIONS] if isinstance(value, dict) else []
    return len(named) == 1 and fits(value[named[0]], OPERATIONS[named[0]])


REQUEST = {"operation": operation, "idempotencyKey": str, "actor": str, "caller?": CALLER}
RESPONSE = {"status": int, "body": anything, "retryAfterSeconds?": int}

# --- Messages: messages.md, line by line

NODE = record(("id", NAME), ("role", words("controller", "worker")), ("host", text(255)),
              ("cluster port", ranged(0, 65535)), ("API URL", text(256)))
ENDPOINT = record(("host", text(45, lambda value: value != "")), ("port", PORT))
STATUS = record(
    ("instance", INSTANCE), ("app", NAME), ("revision", SMALL), ("node", NAME),
    ("state", words("pending", "pulling", "starting", "ready", "unhealthy", "draining", "stopped", "crash-looping")),
    (FLAGS, ("container id", "endpoint", "exit code", "started at", "last probe", "out of memory")),
    ("container id", text(80)), ("endpoint", ENDPOINT), ("restarts", SMALL), ("failures", SMALL),
    ("exit code", Kind(read_exit_code, write_zigzag)), ("message", text(4096)), ("started at", TIME),
    ("last probe", TIME), ("since", TIME))
SECRET = text(63, lambda value: SECRET_NAME.fullmatch(value) is not None)
SEALED = record(
    ("name", SECRET), ("version", SMALL),
    ("key id", text(63, lambda value: value != "")), ("box", text(65536, lambda value: value != "")))


def is_range(value):
    """An IPv4 or IPv6 address (no embedded IPv4, no zone), or a network: digits without leading zeros."""
    address, slash, bits = value.partition("/")
    six = ":" in address
    try:
        ipaddress.IPv6Address(address) if six else ipaddress.IPv4Address(address)
    except ValueError:
        return False
    if six and re.fullmatch(r"[0-9a-fA-F:]+", address) is None:
        return False
    return not slash or (re.fullmatch(r"0|[1-9][0-9]{0,2}", bits) is not None and int(bits) <= (128 if six else 32))


RANGE = text(43, is_range)
ROUTE = record(
    ("app", NAME), ("hosts", many(256, text(255))), ("path prefix", text(1024)),
    ("method", words("least connections", "by client address", "random")),
    (FLAGS, ("listen port", "TLS", "maintenance", "allow", "deny", "secrets", "activation")), ("listen port", PORT),
    ("largest request body", SIZE), ("read time-out", SMALL),
    ("TLS", record(("certificate", SECRET), ("key", SECRET), ("redirect", FLAG))),
    ("maintenance", record(("retry after", SMALL), ("message", text(200)))), ("allow", some(128, RANGE)),
    ("deny", some(128, RANGE)), ("secrets", some(2, SEALED)),
    ("activation", record(("holds", FLAG), ("hold", ranged(1, 300)), ("limit", ranged(1, 100_000)))),
    ("targets", many(4096, record(("instance", INSTANCE), ("endpoint", ENDPOINT), ("weight", ranged(1, 100))))))


def read_histogram(reader):
    index, buckets = 0, []
    for position in range(reader.length(1728)):
        index += ranged(min(position, 1), 1727).read(reader)
        check(index <= 1727)
        buckets.append([index, ranged(1, 2**32).read(reader)])
    return buckets


def write_histogram(buckets):
    return write_varint(len(buckets)) + b"".join(
        write_varint(index - before) + write_varint(count)
        for (index, count), before in zip(buckets, [0] + [index for index, _ in buckets]))


PERCENT = fixed(">d", 0, 1e6)
SAMPLE = record(
    ("layout", fixed("B", 1, 1)), ("app", NAME), ("node", NAME), ("second", ranged(0, 253_402_300_799)),
    ("interval", fixed(">d", 0.001, 86400)), ("requests", COUNTER),
    ("statuses", Kind(lambda reader: [COUNTER.read(reader) for _ in range(5)],
                      lambda value: b"".join(map(write_varint, value)))),
    ("request seconds", fixed(">d", 0, 1e12)), ("in flight", COUNTER),
    ("latency", Kind(read_histogram, write_histogram)),
    ("instances", many(4096, record(
        ("instance", INSTANCE), (FLAGS, ("CPU", "memory", "latency")), ("CPU", PERCENT), ("memory", PERCENT),
        ("requests", COUNTER), ("errors", COUNTER), ("in flight", COUNTER),
        ("latency", Kind(read_histogram, write_histogram))))))
EVENT = record(
    ("node", NAME), ("sequence", SEQUENCE), ("time", TIME), ("app", text(63, lambda v: v == "" or is_name(v))),
    ("kind", text(200, lambda value: value != "")), ("message", text(4096)), ("details", DOCUMENT))
DECISION = record(
    ("node", NAME), ("sequence", SEQUENCE), ("epoch", EPOCH), ("time", TIME), ("app", NAME), ("from", SMALL),
    ("to", SMALL), ("reason", text(4096)), ("triggered by", text(200)), ("metrics", DOCUMENT),
    ("explanation", DOCUMENT))
HELLO = record(
    ("lowest version", PORT), ("highest version", PORT), ("cluster", NAME), ("node", NODE), ("incarnation", fixed(">Q")),
    ("channel", words("control", "bulk")), ("features", VARINT), ("nonce", byte_string(0, 32)))
COMMAND = record(("epoch", EPOCH), ("kind", words("run", "stop", "retry", first=1)), ("instance", INSTANCE))
SECRET_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9._-]*")
COMMAND_REST = {"stop": record(("grace", ranged(0, 600))), "retry": record(), "run": record(
    ("revision", SMALL), ("node", NAME), ("replicas", SMALL), ("spec", in_form(DOCUMENT, SPEC)),
    ("secrets", many(17, SEALED)))}


def read_hello(reader):
    check(reader.take(4) == b"ORCH")
    at = reader.at
    check(PORT.read(reader) <= PORT.read(reader))
    reader.at = at
    return HELLO.read(reader)


def read_command(reader):
    value = COMMAND.read(reader)
    return {**value, **COMMAND_REST[value["kind"]].read(reader)}


def write_command(value):
    return COMMAND.write(value) + COMMAND_REST[value["kind"]].write(value)


EXEC = record(("session", VARINT), ("to runner", FLAG), ("kind", words(
    "input", "output", "errors", "resize", "end of input", "credit", "exited", "ended")))
EXEC_BYTES = record(("bytes", some_bytes(32_768)))
EXEC_REST = {
    "input": EXEC_BYTES, "output": EXEC_BYTES, "errors": EXEC_BYTES, "resize": record(("columns", PORT), ("rows", PORT)),
    "end of input": record(), "credit": record(("credit", ranged(1, 262_144))),
    "exited": record(("status", ranged(0, 255))), "ended": record(("reason", text(4096)))}


def read_exec(reader):
    value = EXEC.read(reader)
    return {**value, **EXEC_REST[value["kind"]].read(reader)}


def write_exec(value):
    return EXEC.write(value) + EXEC_REST[value["kind"]].write(value)


SENT = record(("epoch", EPOCH), ("sent at", VARINT))
VERSION_OF_TABLE = ("epoch", EPOCH), ("number", VARINT)
ROUND = ranged(0, 2**32 - 1)
MESSAGES = {
    0x01: ("Hello", Kind(read_hello, lambda value: b"ORCH" + HELLO.write(value))),
    0x02: ("HelloChallenge", record(("nonce", byte_string(32)), ("proof", byte_string(32)))),
    0x03: ("HelloProof", record(("proof", byte_string(32)))),
    0x04: ("HelloAccepted", record(("version", PORT), ("node", NODE), ("incarnation", fixed(">Q")),
                                   ("features", VARINT))),
    0x05: ("Error", record(("code", PORT), ("message", text(4096)))),
    0x06: ("Ping", record()), 0x07: ("Pong", record()), 0x08: ("Renew", record()),
    0x10: ("Heartbeat", SENT), 0x11: ("HeartbeatAck", SENT),
    0x12: ("VoteRequest", record(("round", ROUND))),
    0x13: ("VoteReply", record(("round", ROUND), ("granted", FLAG), ("highest epoch", EPOCH))),
    0x14: ("Released", record(("epoch", EPOCH))),
    0x20: ("Inventory", record(("node", NAME), ("highest epoch", EPOCH), ("capacity CPU", SMALL),
                               ("capacity memory", SIZE), ("engine available", FLAG),
                               ("instances", many(10_000, STATUS)))),
    0x21: ("InstanceCommand", Kind(read_command, write_command)),
    0x22: ("CommandAck", record()), 0x23: ("Refused", record(("epoch", EPOCH))), 0x24: ("InstanceStatus", STATUS),
    0x30: ("RoutingTable", record(*VERSION_OF_TABLE, ("routes", many(10_000, ROUTE)))),
    0x31: ("RoutingAck", record(*VERSION_OF_TABLE)),
    0x40: ("SampleBatch", record(("samples", many(10_000, SAMPLE)))),
    0x41: ("EventBatch", record(("events", many(10_000, EVENT)), ("decisions", many(10_000, DECISION)))),
    0x42: ("EventAck", record(("events", SEQUENCE), ("decisions", SEQUENCE))),
    0x43: ("HeldRequests", record(("can hold", FLAG), ("waiting", many(1_000, record(
        ("app", NAME), ("requests", ranged(1, 2**32))))))),
    0x50: ("ForwardRequest", record(("deadline", ranged(0, 86_400_000)), ("request", in_form(DOCUMENT, REQUEST)))),
    0x51: ("ForwardResponse", record(("response", in_form(DOCUMENT, RESPONSE)))),
    0x60: ("LogRequest", record(("instance", INSTANCE), ("lines", ranged(0, 100_000)))),
    0x61: ("LogChunk", record(("last", FLAG), ("lines", many(100_000, text(65_536))))),
    0x62: ("ExecRequest", record(("session", VARINT), ("request", in_form(DOCUMENT, REQUEST)))),
    0x63: ("ExecData", Kind(read_exec, write_exec))}
TYPES = {name: (number, kind) for number, (name, kind) in MESSAGES.items()}


def frame_length(head, limit):
    """The length of the frame that begins with these four bytes, checked before anything is read or made for it."""
    length = int.from_bytes(head, "big")
    if length < 2 or length > limit:
        raise WireError("frame-too-short" if length < 2 else "frame-too-long")
    return length


def decode(payload):
    """What follows the length of a frame -> (correlation, name, fields)."""
    reader = Reader(payload)
    number = reader.take(1)[0]
    if number not in MESSAGES:
        raise WireError("unknown-type")
    correlation = reader.varint()
    check(correlation != 1)
    name, kind = MESSAGES[number]
    fields = kind.read(reader)
    if reader.left() and not (name == "Hello" and fields["highest version"] > VERSION):
        raise WireError("spare-bytes")
    return correlation, name, fields


def encode(name, fields, correlation=0):
    number, kind = TYPES[name]
    payload = bytes([number]) + write_varint(correlation) + kind.write(fields)
    return struct.pack(">I", len(payload)) + payload
