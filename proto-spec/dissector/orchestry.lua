-- Wireshark dissector of the Orchestry cluster protocol, version 1 (framing.md, messages.md, errors.md).
--
--   wireshark -X lua_script:proto-spec/dissector/orchestry.lua
--   tshark -X lua_script:proto-spec/dissector/orchestry.lua -o orchestry.ports:7100-7102 -r capture.pcapng
--
-- Connections are found by port (preference "TCP ports", 7100) or, whatever their port, by the magic number in their
-- Hello. TLS on these ports is handed to Wireshark's own dissector; with a key log (preference tls.keylog_file) what it
-- decrypts comes back here. Wrong bytes get an expert info and `orchestry.malformed`, the name of the error in errors.md.
-- Lua 5.2 to 5.4.

local orchestry = Proto("orchestry", "Orchestry cluster protocol")
orchestry.prefs.ports = Pref.range("TCP ports", "7100", "Cluster ports of the nodes (cluster.port)", 65535)

local LIMITS = { hello = 1024, control = 1048576, bulk = 16777216 }
local HIGHEST_VERSION = 1

-- Fields: one Wireshark field for each name; the same name in two messages is the same field.
local declared, all_fields = {}, {}
local function declare(constructor, slug, label, ...)
    local abbreviation = "orchestry." .. slug
    if not declared[abbreviation] then
        declared[abbreviation] = ProtoField[constructor](abbreviation, label, ...)
        table.insert(all_fields, declared[abbreviation])
    end
    return declared[abbreviation]
end

declare("string", "node", "Node", base.UNICODE)  -- Here, for its label.
local f_length = declare("uint32", "length", "Length")
local f_message = declare("string", "message_name", "Message")
local f_correlation = declare("uint64", "correlation", "Correlation")
local f_malformed = declare("string", "malformed", "Malformed")
local f_request = declare("framenum", "request_in", "Request in frame", base.NONE, frametype.REQUEST)
local f_response = declare("framenum", "response_in", "Response in frame", base.NONE, frametype.RESPONSE)
local f_response_time = declare("relative_time", "response_time", "Response time")
local f_frame_bytes = declare("uint32", "frame_bytes", "Bytes on the wire")
local f_flags = declare("uint8", "flags", "Flags", base.HEX)
local f_count = declare("uint32", "count", "Count")

local e_malformed = ProtoExpert.new(
    "orchestry.expert.malformed", "Malformed frame", expert.group.MALFORMED, expert.severity.ERROR)
local e_unexpected = ProtoExpert.new(
    "orchestry.expert.unexpected", "Message on a channel it may not travel on", expert.group.PROTOCOL,
    expert.severity.WARN)
local e_error = ProtoExpert.new("orchestry.expert.error", "The peer reports an error", expert.group.RESPONSE_CODE,
    expert.severity.NOTE)
orchestry.experts = { e_malformed, e_unexpected, e_error }

-- Reading -------------------------------------------------------------------------------------------------------------

local function fail(name, reader, detail) error({ name = name, at = reader.at, detail = detail }, 0) end
local function check(good, reader, detail) if not good then fail("bad-value", reader, detail) end end

local Reader = {}
Reader.__index = Reader

-- A reader of one frame: `tvb` begins with its length, `raw` is what follows it.
local function new_reader(tvb, size)
    return setmetatable({ tvb = tvb, raw = tvb:raw(0, size), at = 4, size = size }, Reader)
end

function Reader:left() return self.size - self.at end
function Reader:range(from) return self.tvb(from, self.at - from) end

function Reader:take(count)
    if count > self:left() then fail("truncated", self) end
    self.at = self.at + count
    return self.at - count
end

function Reader:byte() return self.raw:byte(self:take(1) + 1) end

-- -> its value as a number (exact below 2^53) and as two halves of 32 bits.
function Reader:varint()
    local low, high, position = 0, 0, 0
    while true do
        local byte = self:byte()
        local bits = byte % 128
        if position == 9 and byte > 1 then fail("bad-varint", self, "more than 64 bits") end
        if position < 4 then
            low = low + bits * 2 ^ (7 * position)
        elseif position == 4 then
            low, high = low + (bits % 16) * 2 ^ 28, math.floor(bits / 16)
        else
            high = high + bits * 2 ^ (7 * position - 32)
        end
        if byte < 128 then
            if byte == 0 and position > 0 then fail("bad-varint", self, "not the shortest form") end
            return high * 2 ^ 32 + low, low, high
        end
        position = position + 1
    end
end

-- A length or a count: what it counts takes at least a byte each.
function Reader:bounded(limit)
    local length = self:varint()
    if length > limit then fail("too-long", self, ("%.0f, limit %.0f"):format(length, limit)) end
    if length > self:left() then fail("truncated", self) end
    return length
end

local function is_utf8(text)
    local at, size = 1, #text
    while at <= size do
        local first = text:byte(at)
        local follow, low, high = 0, 0x80, 0xBF
        if first < 0x80 then follow = 0
        elseif first >= 0xC2 and first <= 0xDF then follow = 1
        elseif first >= 0xE0 and first <= 0xEF then
            follow = 2
            if first == 0xE0 then low = 0xA0 elseif first == 0xED then high = 0x9F end
        elseif first >= 0xF0 and first <= 0xF4 then
            follow = 3
            if first == 0xF0 then low = 0x90 elseif first == 0xF4 then high = 0x8F end
        else return false end
        for index = 1, follow do
            local byte = text:byte(at + index)
            if not byte or byte < low or byte > high then return false end
            low, high = 0x80, 0xBF
        end
        at = at + follow + 1
    end
    return true
end

-- Kinds of fields: `field` makes the Wireshark field of a label; `read(reader, before)` -> the value for further use, the
-- one for Wireshark, the text for the info column, and the place of the value itself where Wireshark is to read it there.
-- `before` has the fields of the record that came before.

local function scalar(constructor, read, ...)
    local arguments = { ... }
    return { read = read, field = function(slug, label)
        return declare(constructor, slug, label, (table.unpack or unpack)(arguments))
    end }
end

local function varint(low, high, unsigned)
    return scalar("uint64", function(reader)
        local value, low_half, high_half = reader:varint()
        check(value >= low and value <= high, reader, ("%.0f"):format(value))
        local exact = UInt64.new(low_half, high_half)
        return value, exact, tostring(exact)
    end, base.DEC)
end

local function zigzag(bits)
    return scalar("int64", function(reader)
        local value, low, high = reader:varint()
        local odd = low % 2
        -- Half of it, and its complement where it was odd: in two halves of 32 bits.
        low, high = math.floor(low / 2) + (high % 2) * 2 ^ 31, math.floor(high / 2)
        local magnitude = high * 2 ^ 32 + low
        if odd == 1 then low, high = 2 ^ 32 - 1 - low, 2 ^ 32 - 1 - high end
        check(magnitude < 2 ^ (bits - 1), reader, "more than " .. bits .. " bits")
        local exact = Int64.new(low, high)
        return odd == 1 and -magnitude - 1 or magnitude, exact, tostring(exact)
    end, base.DEC)
end

local function f64(low, high)
    return scalar("double", function(reader)
        local value = reader.tvb(reader:take(8), 8):float()
        check(value >= low and value <= high, reader, tostring(value))
        return value, value, tostring(value)
    end)
end

local function words(first, ...)
    local names = {}
    for index, name in ipairs({ ... }) do names[first + index - 1] = name end
    return scalar("uint8", function(reader)
        local value = reader:byte()
        check(names[value], reader, tostring(value))
        return names[value], value, names[value]
    end, base.DEC, names)
end

local function read_text(reader, limit, rule)
    local length = reader:bounded(limit)
    local from = reader:take(length)
    local value = reader.raw:sub(from + 1, from + length)
    if not is_utf8(value) then fail("bad-text", reader) end
    check(not rule or rule(value), reader, value)
    return value, value, value
end

local function text(limit, rule)
    return scalar("string", function(reader) return read_text(reader, limit, rule) end, base.UNICODE)
end

local function byte_string(...)
    local lengths, longest = {}, 0
    for _, length in ipairs({ ... }) do
        lengths[length], longest = true, math.max(longest, length)
    end
    return scalar("bytes", function(reader)
        local length = reader:bounded(longest)
        local from = reader:take(length)
        check(lengths[length], reader, length .. " bytes")
        local hex = reader.raw:sub(from + 1, from + length):gsub(".", function(c) return ("%02x"):format(c:byte()) end)
        return hex, nil, hex, reader.tvb(from, length)
    end)
end

local flag = scalar("bool", function(reader)
    local value = reader:byte()
    check(value < 2, reader, tostring(value))
    return value == 1, value == 1, tostring(value == 1)
end)

local u64 = scalar("uint64", function(reader)
    local value = reader.tvb(reader:take(8), 8):uint64()
    return value, value, tostring(value)
end, base.DEC)

-- Compound kinds have `dissect(reader, tree, label)` -> value instead.

local function lower(label) return (label:lower():gsub("[^a-z0-9]+", "_")) end

-- A field of a record. `slug` only where another field of that name means something else.
local function field(label, kind, slug)
    local entry = { label = label, kind = kind }
    if kind.read then entry.field = kind.field(slug or lower(label), label:sub(1, 1):upper() .. label:sub(2)) end
    return entry
end

local function dissect_entry(entry, reader, tree, before)
    if entry.kind.dissect then return entry.kind.dissect(reader, tree, entry.label) end
    local from = reader.at
    local value, shown, words_for_info, place = entry.kind.read(reader, before)
    local item = place and tree:add(entry.field, place) or tree:add(entry.field, reader:range(from), shown)
    if entry.kind.comment then item:append_text(" (" .. entry.kind.comment(value) .. ")") end
    return value, words_for_info
end

-- Fields one after the other. An entry `{flags = {...}}` names the optional ones among those that follow; a name without
-- a field is a bit that says it all.
local function dissect_fields(entries, reader, tree, values, infos)
    local optional, present = {}, {}
    for _, entry in ipairs(entries) do
        if entry.flags then
            local from, rest = reader.at, reader:byte()
            local item = tree:add(f_flags, reader:range(from))
            if rest >= 2 ^ #entry.flags then fail("reserved-bits", reader) end
            for _, name in ipairs(entry.flags) do
                optional[name], present[name] = true, rest % 2 == 1
                if present[name] then item:append_text(", " .. name) end
                rest = math.floor(rest / 2)
            end
        elseif not optional[entry.label] or present[entry.label] then
            values[entry.label], infos[entry.label] = dissect_entry(entry, reader, tree, values)
        end
    end
    return values, infos
end

local function record(title, ...)
    local entries = { ... }
    return { entries = entries, dissect = function(reader, tree, label)
        local from = reader.at
        local branch = tree:add(orchestry, reader.tvb(from), label .. (title ~= "" and ": " or ""))
        local values, infos = dissect_fields(entries, reader, branch, {}, {})
        branch:set_len(reader.at - from)
        if infos[title] then branch:append_text(infos[title]) end
        return values
    end }
end

local function list(limit, kind, slug, label)
    local entry = field(label or "item", kind, slug)
    return { dissect = function(reader, tree, name)
        local from = reader.at
        local count = reader:bounded(limit)
        local branch = tree:add(f_count, reader:range(from), count):set_text(name .. ": " .. ("%.0f"):format(count))
        local values = {}
        for index = 1, count do values[index] = dissect_entry(entry, reader, branch) end
        branch:set_len(reader.at - from)
        return values
    end }
end

-- Documents -----------------------------------------------------------------------------------------------------------

local NULL = setmetatable({}, { __tostring = function() return "null" end })
local f_key = declare("string", "document.key", "Key", base.UNICODE)
local document_scalars = {
    [3] = field("integer", zigzag(64), "document.integer"),
    [4] = field("number", f64(-1.7976931348623157e308, 1.7976931348623157e308), "document.number"),
    [5] = field("text", text(4194304), "document.text"),
}
local f_constant = declare("string", "document.constant", "Constant")

-- -> the value: NULL, a boolean, a number, a string, {array = {…}} or {object = {…}}.
local function dissect_document(reader, tree, label, depth)
    if depth > 64 then fail("too-long", reader, "nested too deeply") end
    local from = reader.at
    local tag = reader:byte()
    check(tag < 8, reader, "tag " .. tag)
    if tag < 3 then
        local value = ({ [0] = NULL, [1] = false, [2] = true })[tag]
        tree:add(f_constant, reader:range(from), tostring(value)):set_text(label .. ": " .. tostring(value))
        return value
    elseif tag < 6 then
        local entry = document_scalars[tag]
        local value, shown, word = entry.kind.read(reader)
        tree:add(entry.field, reader:range(from), shown):set_text(label .. ": " .. word)
        return value
    end
    local count = reader:bounded(1048576)
    local branch = tree:add(f_count, reader:range(from), count)
        :set_text(("%s: %.0f %s"):format(label, count, tag == 6 and "items" or "members"))
    local values, last = {}, nil
    for index = 1, count do
        if tag == 6 then
            values[index] = dissect_document(reader, branch, tostring(index - 1), depth + 1)
        else
            local key_from = reader.at
            local key = read_text(reader, 1024)
            check(last == nil or last < key, reader, "keys out of order")
            branch:add(f_key, reader:range(key_from), key):set_hidden(true)
            last, values[key] = key, dissect_document(reader, branch, key, depth + 1)
        end
    end
    branch:set_len(reader.at - from)
    return tag == 6 and { array = values } or { object = values }
end

-- Forms of documents: "text", "whole", "number", "flag", "any", "name", {"a", "b"} for one of these words,
-- {each = form}, {members = form}, {one = {form, …}}, or {fields = {member = form}}, where "member?" may be absent.
local fits

local function is_name(value)
    return #value >= 1 and #value <= 63 and value:find("^[a-z0-9-]+$") ~= nil and value:sub(1, 1) ~= "-"
        and value:sub(-1) ~= "-"
end

local plain_forms = {
    text = function(value) return type(value) == "string" end,
    number = function(value) return type(value) == "number" end,
    whole = function(value) return type(value) == "number" and value == math.floor(value) end,
    flag = function(value) return type(value) == "boolean" end,
    name = function(value) return type(value) == "string" and is_name(value) end,
    any = function() return true end,
}

function fits(value, form)
    if type(form) == "string" then return plain_forms[form](value) end
    local items, members = type(value) == "table" and value.array, type(value) == "table" and value.object
    if form.each or form.members then
        for _, item in pairs((form.each and items) or (form.members and members) or {}) do
            if not fits(item, form.each or form.members) then return false end
        end
        return (form.each and items or form.members and members) and true or false
    elseif form.one then
        for _, choice in ipairs(form.one) do if fits(value, choice) then return true end end
        return false
    elseif form.fields then
        if not members then return false end
        for name, part in pairs(form.fields) do
            local member = members[(name:gsub("?$", ""))]
            local absent = member == nil or member == NULL
            if not (name:sub(-1) == "?" and absent) and (member == nil or not fits(member, part)) then return false end
        end
        return true
    end
    for _, word in ipairs(form) do if value == word then return true end end
    return false
end

local TEXTS = { each = "text" }
local POLICIES = { each = { fields = { unit = { "instances", "percent" }, amount = "whole", periodSeconds = "whole" } } }
local CHECK = { fields = {
    kind = { "http", "tcp", "command", "none" }, ["port?"] = "whole", path = "text", method = "text",
    headers = { members = "text" }, ["body?"] = "text", expectedStatuses = { each = "whole" },
    ["expectedStatusRanges?"] = { each = { fields = { first = "whole", last = "whole" } } }, ["command?"] = TEXTS,
    initialDelaySeconds = "number", periodSeconds = "number", timeoutSeconds = "number", failureThreshold = "whole",
    successThreshold = "whole" } }
local SPEC = { fields = {
    name = "name", labels = { members = "text" }, kind = { "http", "tcp", "worker" }, image = "text",
    pullPolicy = { "always", "ifNotPresent", "never" }, ["command?"] = TEXTS, ["arguments?"] = TEXTS,
    ["workingDirectory?"] = "text", ["imagePullSecret?"] = "text",
    environment = { each = { fields = { name = "text", source = { one = {
        { fields = { value = { fields = { _0 = "text" } } } }, { fields = { sdk = { fields = { _0 = "text" } } } },
        { fields = { secret = { fields = { _0 = "text" } } } } } } } } },
    ports = { each = { fields = { containerPort = "whole", scheme = { "HTTP", "TCP" }, ["name?"] = "text" } } },
    resources = { fields = { cpuMillicores = "whole", memoryBytes = "whole", pidsLimit = "whole" } },
    security = { fields = {
        ["user?"] = "text", allowRoot = "flag", readOnlyRootFilesystem = "flag", addCapabilities = TEXTS,
        ["seccompProfile?"] = "text", ["appArmorProfile?"] = "text" } },
    ["volumes?"] = { each = { fields = {
        kind = { "volume", "bind", "tmpfs" }, source = "text", target = "text", readOnly = "flag",
        ["sizeBytes?"] = "whole" } } },
    ["logs?"] = { fields = { ["maxSizeBytes?"] = "whole", ["maxFiles?"] = "whole" } },
    ["network?"] = { fields = { isolated = "flag" } },
    routing = { fields = {
        hosts = TEXTS, pathPrefix = "text", method = { "least_conn", "ip_hash", "random" }, ["listenPort?"] = "whole",
        maxBodyBytes = "whole", readTimeoutSeconds = "whole", ["tls?"] = { fields = {
            certificateSecret = "text", keySecret = "text", redirect = "flag" } },
        ["allow?"] = TEXTS, ["deny?"] = TEXTS, ["maintenance?"] = { fields = {
            retryAfterSeconds = "whole", ["message?"] = "text" } } } },
    termination = { fields = { drainSeconds = "whole", gracePeriodSeconds = "whole" } },
    rollout = { fields = {
        surge = { one = { "whole", "text" } }, unavailable = { one = { "whole", "text" } },
        progressDeadlineSeconds = "whole", ["minHealthySeconds?"] = "whole",
        ["strategy?"] = { "rolling", "canary" }, ["canary?"] = { fields = {
            weightPercent = "whole", intervalSeconds = "whole", minRequests = "whole", maxErrorRatePct = "number",
            ["maxP95Factor?"] = "number" } },
        ["release?"] = { fields = { command = TEXTS, timeoutSeconds = "whole" } } } },
    health = CHECK, ["liveness?"] = CHECK,
    scaling = { fields = {
        mode = { "auto", "manual" }, minReplicas = "whole", maxReplicas = "whole", ["targetRPS?"] = "number",
        ["maxP95LatencyMilliseconds?"] = "number", ["maxConnections?"] = "number", ["maxCPUPercent?"] = "number",
        ["maxMemoryPercent?"] = "number", scaleOutThresholdPercent = "number", scaleInThresholdPercent = "number",
        windowSeconds = "whole", cooldownSeconds = "whole", stabilizationWindowSeconds = "whole",
        ["maxScaleOutStep?"] = "whole", ["maxScaleInStep?"] = "whole", toleranceOut = "number", toleranceIn = "number",
        scaleOutPolicies = POLICIES, scaleInPolicies = POLICIES, warmupSeconds = "whole",
        ["customMetrics?"] = { each = { fields = {
            name = "text", metric = "text", labels = { members = "text" }, kind = { "gauge", "counter" },
            target = "number", path = "text", ["port?"] = "whole" } } },
        ["schedules?"] = { each = { fields = {
            name = "text", start = "text", ["end"] = "text", timeZone = "text", ["minReplicas?"] = "whole",
            ["maxReplicas?"] = "whole" } } },
        ["scaleToZero?"] = { fields = { idleSeconds = "whole", holdSeconds = "whole", holdLimit = "whole" } } } },
} }

local GRANT = { fields = {
    role = { "viewer", "operator", "admin" },
    ["verbs?"] = { each = { "read", "deploy", "run", "exec", "scale", "rollout", "nodes", "secrets", "tokens", "audit", "cluster" } },
    ["apps?"] = { each = "name" } } }
local CALLER = { fields = {
    name = "text", ["address?"] = "text", ["node?"] = "name", ["grant?"] = GRANT, ["token?"] = "text",
    ["credential?"] = "text" } }

local OF_APP = { fields = { _0 = "name" } }
local CONDITION = { fields = { isAbsent = "flag", ["tags?"] = TEXTS } }
local OPERATIONS = {
    register = { fields = { document = "any", ["condition?"] = CONDITION } },
    plan = { fields = { documents = { each = "any" } } }, usageOfApps = { fields = {} },
    start = OF_APP, stop = OF_APP, delete = OF_APP, appStatus = OF_APP,
    appDocument = OF_APP, appMetrics = OF_APP, why = OF_APP, retry = OF_APP,
    listSecrets = { fields = {} }, showSecret = { fields = { _0 = "text" } },
    removeSecret = { fields = { _0 = "text", force = "flag" } },
    setSecret = { fields = { _0 = { fields = { name = "text", version = "whole", keyID = "text", box = "text" } } } },
    scale = { fields = { _0 = "name", replicas = "whole", ["forSeconds?"] = "whole" } },
    autoscale = { fields = { _0 = "name", _1 = { fields = {
        action = { "pause", "resume" }, direction = { "out", "in", "both" }, ["forSeconds?"] = "whole" } } } },
    simulate = { fields = { _0 = "name", _1 = { fields = {
        policy = "any", sinceSeconds = "whole", ["capacityPerInstance?"] = "number", ["startSeconds?"] = "whole" } } } },
    setPolicy = { fields = { _0 = "name", policy = "any", ["condition?"] = CONDITION } },
    simulateMetrics = { fields = { _0 = "name", _1 = { fields = {
        rps = "number", p95LatencyMs = "number", activeConnections = "whole", cpuPercent = "number",
        memoryPercent = "number", ["healthyReplicas?"] = "whole", evaluate = "flag" } } } },
    appLogs = { fields = { _0 = "name", lines = "whole" } }, events = { fields = { ["app?"] = "name", limit = "whole" } },
    stepDown = { fields = {} }, listApps = { fields = {} }, systemMetrics = { fields = {} },
    listNodes = { fields = {} }, pauseRollout = OF_APP, resumeRollout = OF_APP, abortRollout = OF_APP,
    rolloutStatus = OF_APP, revisions = OF_APP, rollback = { fields = { _0 = "name", ["to?"] = "whole" } },
    cordonNode = OF_APP, uncordonNode = OF_APP, drainNode = { fields = { _0 = "name", deadlineSeconds = "whole" } },
    rebalance = { fields = { maxMoves = "whole" } }, restore = { fields = { checksum = "text", merge = "flag" } },
    changeSettings = { fields = { _0 = "any" } }, backup = { fields = {} }, listSettings = { fields = {} },
    listTokens = { fields = {} }, tokensInForce = { fields = {} },
    createToken = { fields = { _0 = { fields = {
        name = "text", grant = GRANT, ["expiresSeconds?"] = "whole", hash = "text" } } } },
    revokeToken = { fields = { _0 = "text" } },
    audit = { fields = { ["app?"] = "name", ["after?"] = "whole", limit = "whole", isRaw = "flag" } },
    overview = { fields = {} }, appHistory = { fields = { _0 = "name", minutes = "whole" } },
    followLog = { fields = { _0 = "text", session = "text", ["cursor?"] = "text", ["tail?"] = "whole" } },
    exec = { fields = { _0 = "name", _1 = "text", _2 = { fields = { words = { each = "text" }, hasInput = "flag",
        ["terminal?"] = { fields = { columns = "whole", rows = "whole" } } } } } },
    eventsAfter = { fields = { _0 = "whole", limit = "whole" } },
}

-- The one known member of the operation's object, or nil.
local function operation_name(request)
    local operation = type(request) == "table" and request.object and request.object.operation
    local found
    for name in pairs(type(operation) == "table" and operation.object or {}) do
        if OPERATIONS[name] then
            if found then return nil end
            found = name
        end
    end
    return found
end

local function is_request(value)
    local name = operation_name(value)
    return name ~= nil and fits(value, { fields = {
        operation = { fields = { [name] = OPERATIONS[name] } }, idempotencyKey = "text", actor = "text",
        ["caller?"] = CALLER } })
end

local RESPONSE = { fields = { status = "whole", body = "any", ["retryAfterSeconds?"] = "whole" } }

local function document(has_form)
    return { dissect = function(reader, tree, label)
        local value = dissect_document(reader, tree, label, 1)
        check(not has_form or has_form(value), reader, "a document of the wrong form")
        return value
    end }
end

-- Primitive types of framing.md ---------------------------------------------------------------------------------------

local ANY, EPOCH = varint(0, 2 ^ 64), varint(0, 2 ^ 64)
local SMALL, COUNTER, SIZE, PORT = varint(0, 2 ^ 31 - 1), varint(0, 2 ^ 32), varint(0, 2 ^ 53 - 1), varint(1, 65535)
local ROUND, TIME = varint(0, 2 ^ 32 - 1), varint(0, 253402300799999)
TIME.comment = function(milliseconds) return os.date("!%Y-%m-%d %H:%M:%S UTC", math.floor(milliseconds / 1000)) end
local NAME = text(63, is_name)
local INSTANCE = text(80, function(value) return value:find("^[a-z0-9-]+$") ~= nil end)
local function not_empty(value) return value ~= "" end
-- 2^63 - 1 is no number of Lua's: the top bit decides.
local SEQUENCE = scalar("uint64", function(reader)
    local value, low, high = reader:varint()
    check(high < 2 ^ 31, reader)
    local exact = UInt64.new(low, high)
    return value, exact, tostring(exact)
end, base.DEC)

-- Messages: messages.md, line by line ---------------------------------------------------------------------------------

local node = record("id", field("id", NAME, "node"), field("role", words(0, "controller", "worker")),
    field("host", text(255)), field("cluster port", varint(0, 65535)), field("API URL", text(256)))
local endpoint = record("host", field("host", text(45, not_empty)), field("port", PORT))
local status_fields = {
    field("instance", INSTANCE), field("app", NAME), field("revision", SMALL), field("node", NAME),
    field("state", words(0, "pending", "pulling", "starting", "ready", "unhealthy", "draining", "stopped",
        "crash-looping")),
    { flags = { "container id", "endpoint", "exit code", "started at", "last probe", "out of memory" } },
    field("container id", text(80)), field("endpoint", endpoint), field("restarts", SMALL), field("failures", SMALL),
    field("exit code", zigzag(32)), field("message", text(4096)), field("started at", TIME), field("last probe", TIME),
    field("since", TIME),
}
local function is_secret_name(value) return value:find("^[A-Za-z0-9][A-Za-z0-9._-]*$") ~= nil end
local function is_not_empty(value) return value ~= "" end
local sealed = record("name", field("name", text(63, is_secret_name), "secret.name"),
    field("version", SMALL, "secret.version"), field("key id", text(63, is_not_empty), "secret.key_id"),
    field("box", text(65536, is_not_empty), "secret.box"))
-- A list that has at least one element.
local function some(limit, kind, slug, label)
    local every = list(limit, kind, slug, label)
    return { dissect = function(reader, tree, name)
        local values = every.dissect(reader, tree, name)
        check(#values > 0, reader, "an empty list")
        return values
    end }
end

local function is_range(value) return value:find("^[%x:.]+$") or value:find("^[%x:.]+/%d%d?%d?$") end
local tls = record("certificate", field("certificate", text(63, is_secret_name), "route.tls.certificate"),
    field("key", text(63, is_secret_name), "route.tls.key"), field("redirect", flag, "route.tls.redirect"))
local maintenance = record("message", field("retry after", SMALL, "route.maintenance.retry_after"),
    field("message", text(200), "route.maintenance.message"))
local activation = record("hold", field("holds", flag, "route.activation.holds"),
    field("hold", varint(1, 300), "route.activation.seconds"),
    field("limit", varint(1, 100000), "route.activation.limit"))
local target = record("instance", field("instance", INSTANCE), field("endpoint", endpoint),
    field("weight", varint(1, 100)))
local route = record("app", field("app", NAME), field("hosts", list(256, text(255), "route.host", "host")),
    field("path prefix", text(1024)),
    field("method", words(0, "least connections", "by client address", "random")),
    { flags = { "listen port", "TLS", "maintenance", "allow", "deny", "secrets", "activation" } },
    field("listen port", PORT), field("largest request body", SIZE), field("read time-out", SMALL),
    field("TLS", tls), field("maintenance", maintenance),
    field("allow", some(128, text(43, is_range), "route.allow", "range")),
    field("deny", some(128, text(43, is_range), "route.deny", "range")),
    field("secrets", some(2, sealed, nil, "secret")), field("activation", activation),
    field("targets", list(4096, target, nil, "target")))

local held = record("app", field("app", NAME), field("requests", varint(1, 2^32), "held.requests"))

local f_bucket = declare("uint32", "latency.bucket", "Bucket")
local f_hits = declare("uint64", "latency.count", "Durations in it")
local histogram = { dissect = function(reader, tree, label)
    local from = reader.at
    local count = reader:bounded(1728)
    local branch = tree:add(f_count, reader:range(from), count)
        :set_text(("%s: %.0f buckets"):format(label, count))
    local index = 0
    for position = 1, count do
        local bucket_from = reader.at
        local distance = reader:varint()
        check(distance <= 1727 and (distance >= 1 or position == 1), reader, "the distance of a bucket")
        index = index + distance
        check(index <= 1727, reader, "the index of a bucket")
        local bucket = branch:add(f_bucket, reader:range(bucket_from), index)
        local hits_from = reader.at
        local hits, low, high = reader:varint()
        check(hits >= 1 and hits <= 2 ^ 32, reader, "the count of a bucket")
        bucket:add(f_hits, reader:range(hits_from), UInt64.new(low, high))
    end
    branch:set_len(reader.at - from)
end }
local PERCENT = f64(0, 1e6)
local instance_sample = record("instance", field("instance", INSTANCE), { flags = { "CPU", "memory", "latency" } },
    field("CPU", PERCENT), field("memory", PERCENT), field("requests", COUNTER), field("errors", COUNTER),
    field("in flight", COUNTER), field("latency", histogram))
local sample = record("app", field("layout", words(1, "1")), field("app", NAME), field("node", NAME),
    field("second", varint(0, 253402300799)), field("interval", f64(0.001, 86400)), field("requests", COUNTER),
    field("1xx", COUNTER), field("2xx", COUNTER), field("3xx", COUNTER), field("4xx", COUNTER), field("5xx", COUNTER),
    field("request seconds", f64(0, 1e12)), field("in flight", COUNTER), field("latency", histogram),
    field("instances", list(4096, instance_sample, nil, "instance")))

local event = record("kind", field("node", NAME), field("sequence", SEQUENCE), field("time", TIME),
    field("app", text(63, function(value) return value == "" or is_name(value) end)),
    field("kind", text(200, not_empty), "event.kind"), field("message", text(4096)), field("details", document()))
local decision = record("app", field("node", NAME), field("sequence", SEQUENCE), field("epoch", EPOCH),
    field("time", TIME), field("app", NAME), field("from", SMALL, "decision.from"), field("to", SMALL, "decision.to"),
    field("reason", text(4096)), field("triggered by", text(200)), field("metrics", document()),
    field("explanation", document()))

local HIGHEST = scalar("uint64", function(reader, before)
    local value, exact, word = PORT.read(reader)
    check(value >= before["lowest version"], reader, "below the lowest version")
    return value, exact, word
end, base.DEC)
local magic = scalar("string", function(reader)
    local from = reader:take(4)
    local value = reader.raw:sub(from + 1, from + 4)
    check(value == "ORCH", reader, "the magic number")
    return value, value, value
end)
local run = { field("revision", SMALL), field("node", NAME), field("replicas", SMALL),
    field("spec", document(function(value) return fits(value, SPEC) end)),
    field("secrets", list(17, sealed, nil, "secret")) }
local stop = { field("grace", varint(0, 600)) }
-- Up to 32 KiB of what a command reads or writes.
local exec_data = scalar("bytes", function(reader)
    local length = reader:bounded(32768)
    check(length > 0, reader, "no bytes")
    local from = reader:take(length)
    local hex = reader.raw:sub(from + 1, from + length):gsub(".", function(c) return ("%02x"):format(c:byte()) end)
    return hex, nil, hex, reader.tvb(from, length)
end)
local exec_bytes = { field("bytes", exec_data, "exec.bytes") }
local exec_rest = { input = exec_bytes, output = exec_bytes, errors = exec_bytes,
    resize = { field("columns", PORT, "exec.columns"), field("rows", PORT, "exec.rows") },
    credit = { field("credit", varint(1, 262144), "exec.credit") },
    exited = { field("status", varint(0, 255), "exec.status") },
    ended = { field("reason", text(4096), "exec.reason") } }
local sent = { field("epoch", EPOCH), field("sent at", ANY) }
local table_version = { field("epoch", EPOCH), field("number", ANY) }
local u64_incarnation = field("incarnation", u64)

-- By type: name, channel ("hello", "control", "bulk", "any"), fields, and those the info column shows.
local messages = {
    [0x01] = { "Hello", "hello", {
        field("magic", magic), field("lowest version", PORT), field("highest version", HIGHEST), field("cluster", NAME),
        field("node", node), u64_incarnation, field("channel", words(0, "control", "bulk")), field("features", ANY),
        field("nonce", byte_string(0, 32)) }, { "cluster", "channel" } },
    [0x02] = { "HelloChallenge", "hello",
        { field("nonce", byte_string(32)), field("proof", byte_string(32)) }, {} },
    [0x03] = { "HelloProof", "hello", { field("proof", byte_string(32)) }, {} },
    [0x04] = { "HelloAccepted", "hello", {
        field("version", PORT), field("node", node), u64_incarnation, field("features", ANY) }, { "version" } },
    [0x05] = { "Error", "any", { field("code", PORT), field("message", text(4096)) }, { "code", "message" } },
    [0x06] = { "Ping", "any", {}, {} },
    [0x07] = { "Pong", "any", {}, {} },
    [0x08] = { "Renew", "any", {}, {} },
    [0x10] = { "Heartbeat", "control", sent, { "epoch" } },
    [0x11] = { "HeartbeatAck", "control", sent, { "epoch" } },
    [0x12] = { "VoteRequest", "control", { field("round", ROUND) }, { "round" } },
    [0x13] = { "VoteReply", "control",
        { field("round", ROUND), field("granted", flag), field("highest epoch", EPOCH) },
        { "round", "granted", "highest epoch" } },
    [0x14] = { "Released", "control", { field("epoch", EPOCH) }, { "epoch" } },
    [0x20] = { "Inventory", "bulk", {
        field("node", NAME), field("highest epoch", EPOCH), field("capacity CPU", SMALL),
        field("capacity memory", SIZE), field("engine available", flag),
        field("instances", list(10000, record("instance", (table.unpack or unpack)(status_fields)), nil, "instance"))
    }, { "node", "instances" } },
    [0x21] = { "InstanceCommand", "control", {
        field("epoch", EPOCH), field("kind", words(1, "run", "stop", "retry"), "command.kind"),
        field("instance", INSTANCE) }, { "epoch", "kind", "instance" } },
    [0x22] = { "CommandAck", "control", {}, {} },
    [0x23] = { "Refused", "control", { field("epoch", EPOCH) }, { "epoch" } },
    [0x24] = { "InstanceStatus", "bulk", status_fields, { "instance", "state" } },
    [0x30] = { "RoutingTable", "bulk", {
        table_version[1], table_version[2], field("routes", list(10000, route, nil, "route")) },
        { "epoch", "number", "routes" } },
    [0x31] = { "RoutingAck", "bulk", table_version, { "epoch", "number" } },
    [0x40] = { "SampleBatch", "bulk", { field("samples", list(10000, sample, nil, "sample")) }, { "samples" } },
    [0x41] = { "EventBatch", "bulk", {
        field("events", list(10000, event, nil, "event")), field("decisions", list(10000, decision, nil, "decision"))
    }, { "events", "decisions" } },
    [0x42] = { "EventAck", "bulk", {
        field("events", SEQUENCE, "events_up_to"), field("decisions", SEQUENCE, "decisions_up_to") },
        { "events", "decisions" } },
    [0x43] = { "HeldRequests", "control", {
        field("can hold", flag), field("waiting", list(1000, held, nil, "held")) }, { "can hold", "waiting" } },
    [0x50] = { "ForwardRequest", "any", {
        field("deadline", varint(0, 86400000)), field("request", document(is_request)) }, {} },
    [0x51] = { "ForwardResponse", "any", {
        field("response", document(function(value) return fits(value, RESPONSE) end)) }, {} },
    [0x60] = { "LogRequest", "bulk", { field("instance", INSTANCE), field("lines", varint(0, 100000), "tail_lines") },
        { "instance", "lines" } },
    [0x61] = { "LogChunk", "bulk", {
        field("last", flag), field("lines", list(100000, text(65536), "log_line", "line")) }, { "last", "lines" } },
    [0x62] = { "ExecRequest", "bulk", { field("session", ANY, "exec.session"), field("request", document(is_request)) },
        { "session" } },
    [0x63] = { "ExecData", "bulk", { field("session", ANY, "exec.session"), field("to runner", flag, "exec.to_runner"),
        field("kind", words(0, "input", "output", "errors", "resize", "end of input", "credit", "exited", "ended"),
            "exec.kind") }, { "session", "kind" } },
}
local type_names = {}
for number, message in pairs(messages) do type_names[number] = message[1] end
local f_type = declare("uint8", "type", "Type", base.HEX, type_names)
orchestry.fields = all_fields

-- What the frames of a conversation have told so far ------------------------------------------------------------------

local tcp_stream, tcp_completeness = Field.new("tcp.stream"), Field.new("tcp.completeness")
local streams, open, requests, responses

function orchestry.init()
    streams = {}    -- by TCP stream: fresh, channel, accepted = frame number of HelloAccepted, names by side
    open = {}       -- by pair, asker and correlation: {frame, time} of the latest request
    requests = {}   -- of the frame with a reply: {frame, time} of its request
    responses = {}  -- of the frame with a request: frame number of its first reply
end

local function side_of(address, port) return tostring(address) .. ":" .. port end

local function stream_of(pinfo)
    local number = tcp_stream()
    local key = number and number.value or 0
    if not streams[key] then
        local seen = tcp_completeness()
        -- Only where the connection's beginning was captured is the Hello exchange known to be going on.
        streams[key] = { number = key, fresh = seen ~= nil and seen.value % 2 == 1, names = {} }
    end
    return streams[key]
end

local function limit_at(stream, pinfo)
    local over = stream.accepted and pinfo.number >= stream.accepted
    if stream.fresh and not over then return LIMITS.hello end
    return LIMITS[stream.channel or "bulk"]
end

-- The names of asker and answerer as far as their Hellos were seen: a reply may come on the pair's other connection.
local function exchange_key(stream, asker, other, what)
    local one, two = stream.names[asker], stream.names[other]
    if one and two then return one .. ">" .. two .. " " .. what end
    return stream.number .. " " .. asker .. " " .. what
end

local function learn(stream, pinfo, name, values)
    local source = side_of(pinfo.src, pinfo.src_port)
    if name == "Hello" then
        stream.channel, stream.names[source] = values.channel, values.node.id
    elseif name == "HelloAccepted" then
        stream.names[source] = values.node.id
        stream.accepted = stream.accepted or pinfo.number
    end
end

-- What ties a request to its reply: (key of the exchange, whether this frame opens it), or nil.
local function exchange_of(stream, pinfo, name, correlation, infos)
    local source, destination = side_of(pinfo.src, pinfo.src_port), side_of(pinfo.dst, pinfo.dst_port)
    if name == "Heartbeat" then
        return exchange_key(stream, source, destination, "beat " .. infos["epoch"] .. " " .. infos["sent at"]), true
    elseif name == "HeartbeatAck" then
        return exchange_key(stream, destination, source, "beat " .. infos["epoch"] .. " " .. infos["sent at"]), false
    elseif name == "VoteRequest" then
        return exchange_key(stream, source, destination, "vote " .. infos["round"]), true
    elseif name == "VoteReply" then
        return exchange_key(stream, destination, source, "vote " .. infos["round"]), false
    elseif correlation >= 2 and correlation % 2 == 0 then
        return exchange_key(stream, source, destination, ("%.0f"):format(correlation)), true
    elseif correlation >= 3 then
        return exchange_key(stream, destination, source, ("%.0f"):format(correlation - 1)), false
    end
end

local function correlate(tree, stream, pinfo, name, correlation, infos)
    local key, opens = exchange_of(stream, pinfo, name, correlation, infos)
    if not key then return end
    local here = pinfo.number .. " " .. key
    if opens then
        if not pinfo.visited then open[key] = { frame = pinfo.number, time = pinfo.abs_ts } end
        if responses[here] then tree:add(f_response, responses[here]):set_generated() end
        return
    end
    if not pinfo.visited and open[key] then
        requests[here] = open[key]
        local asked = open[key].frame .. " " .. key
        responses[asked] = responses[asked] or pinfo.number
    end
    local request = requests[here]
    if not request then return end
    tree:add(f_request, request.frame):set_generated()
    local seconds = math.max(0, pinfo.abs_ts - request.time)
    tree:add(f_response_time, NSTime.new(math.floor(seconds), math.floor(seconds % 1 * 1e9))):set_generated()
end

-- Dissecting ----------------------------------------------------------------------------------------------------------

local function complain(tree, range, problem)
    tree:add(f_malformed, range, problem.name):set_generated()
    local words_for_expert = problem.name .. (problem.detail and " (" .. problem.detail .. ")" or "")
    tree:add_proto_expert_info(e_malformed, words_for_expert)
    return "Malformed: " .. problem.name
end

local function summary(message, values, infos)
    local parts = { message[1] }
    for _, label in ipairs(message[4]) do
        local value = values[label]
        if infos[label] then
            table.insert(parts, label .. "=" .. infos[label])
        elseif type(value) == "table" then
            table.insert(parts, label .. "=" .. #value)
        end
    end
    if values.node and type(values.node) == "table" then table.insert(parts, "node=" .. values.node.id) end
    if values.request then table.insert(parts, operation_name(values.request)) end
    if values.response then table.insert(parts, ("status=%.0f"):format(values.response.object.status)) end
    return table.concat(parts, " ")
end

-- Reads one whole frame into the tree; raises what is wrong with it.
local function dissect_body(reader, tree, stream, pinfo)
    tree:add(f_length, reader.tvb(0, 4))
    local number = reader:byte()
    local type_item = tree:add(f_type, reader.tvb(4, 1))
    local message = messages[number]
    if not message then fail("unknown-type", reader, ("0x%02x"):format(number)) end
    tree:add(f_message, reader.tvb(4, 1), message[1]):set_generated()
    tree:append_text(", " .. message[1])
    local from = reader.at
    local correlation, low, high = reader:varint()
    tree:add(f_correlation, reader:range(from), UInt64.new(low, high))
    check(correlation ~= 1, reader, "correlation 1")
    local values, infos = dissect_fields(message[3], reader, tree, {}, {})
    if message[1] == "InstanceCommand" then
        local rest = ({ run = run, stop = stop })[values.kind]
        if rest then dissect_fields(rest, reader, tree, values, infos) end
    elseif message[1] == "ExecData" then
        local rest = exec_rest[values.kind]
        if rest then dissect_fields(rest, reader, tree, values, infos) end
    elseif message[1] == "Error" then
        tree:add_proto_expert_info(e_error, "Error " .. infos.code .. ": " .. values.message)
    end
    if reader:left() > 0 and not (message[1] == "Hello" and values["highest version"] > HIGHEST_VERSION) then
        fail("spare-bytes", reader, reader:left() .. " bytes")
    end
    learn(stream, pinfo, message[1], values)
    local expected = message[2]
    if (expected == "control" or expected == "bulk") and stream.channel and stream.channel ~= expected then
        type_item:add_proto_expert_info(e_unexpected, message[1] .. " travels on " .. expected)
    end
    correlate(tree, stream, pinfo, message[1], correlation, infos)
    return summary(message, values, infos)
end

local function dissect_frame(tvb, size, tree, stream, pinfo)
    local branch = tree:add(orchestry, tvb(0, size), "Orchestry cluster protocol")
    branch:add(f_frame_bytes, tvb(0, size), size):set_generated()
    local reader = new_reader(tvb, size)
    local good, result = pcall(dissect_body, reader, branch, stream, pinfo)
    if good then return result end
    -- Anything but our own error is a fault of this program: let Wireshark show it.
    if type(result) ~= "table" or not result.name then error(result, 0) end
    local from = math.min(result.at, size - 1)
    return complain(branch, tvb(from, size - from), result)
end

local function show(pinfo, parts)
    if #parts == 0 then return end
    pinfo.cols.protocol = "Orchestry"
    local line = table.concat(parts, ", ")
    -- The end of one frame and the beginning of the next may be two calls for one packet.
    if pinfo.private["orchestry"] then line = ", " .. line end
    pinfo.private["orchestry"] = "shown"
    pinfo.cols.info:set(line)
    pinfo.cols.info:fence()
end

local function looks_like_tls(tvb)
    return tvb:len() >= 2 and tvb(0, 1):uint() >= 0x14 and tvb(0, 1):uint() <= 0x17 and tvb(1, 1):uint() == 0x03
end

function orchestry.dissector(tvb, pinfo, tree)
    -- As a frame's length these bytes would be above every limit, so nothing is mistaken.
    if looks_like_tls(tvb) then return Dissector.get("tls"):call(tvb, pinfo, tree) end
    local stream = stream_of(pinfo)
    local offset, parts = 0, {}
    pinfo.cols.protocol = "Orchestry"
    while offset < tvb:len() do
        local left = tvb:len() - offset
        if left < 4 then
            pinfo.desegment_offset, pinfo.desegment_len = offset, DESEGMENT_ONE_MORE_SEGMENT
            break
        end
        local length, limit = tvb(offset, 4):uint(), limit_at(stream, pinfo)
        if length < 2 or length > limit then
            -- Where the next frame begins nobody knows.
            local branch = tree:add(orchestry, tvb(offset), "Orchestry cluster protocol")
            branch:add(f_length, tvb(offset, 4))
            local name = length < 2 and "frame-too-short" or "frame-too-long"
            table.insert(parts, complain(branch, tvb(offset, 4), { name = name, detail = length .. ", limit " .. limit }))
            offset = tvb:len()
        elseif length + 4 > left then
            pinfo.desegment_offset, pinfo.desegment_len = offset, length + 4 - left
            break
        else
            local size = length + 4
            table.insert(parts, dissect_frame(tvb(offset, size):tvb(), size, tree, stream, pinfo))
            offset = offset + size
        end
    end
    show(pinfo, parts)
    return tvb:len()
end

-- A Hello: length within its limit, type 1, correlation 0, the magic number.
local function is_hello(tvb, pinfo, tree)
    if tvb:len() < 10 or tvb(0, 4):uint() > LIMITS.hello or tvb(4, 2):uint() ~= 0x0100 then return false end
    if tvb:raw(6, 4) ~= "ORCH" then return false end
    pinfo.conversation = orchestry
    orchestry.dissector(tvb, pinfo, tree)
    return true
end
orchestry:register_heuristic("tcp", is_hello)
orchestry:register_heuristic("tls", is_hello)

local tables, registered = { DissectorTable.get("tcp.port"), DissectorTable.get("tls.port") }, nil
local function register_ports()
    if registered == orchestry.prefs.ports then return end
    for _, ports in ipairs(tables) do
        if registered then ports:remove(registered, orchestry) end
        ports:add(orchestry.prefs.ports, orchestry)
    end
    registered = orchestry.prefs.ports
end
orchestry.prefs_changed = register_ports
register_ports()
