-- Chooses an instance for each request and counts what became of it. Loaded by the generated nginx configuration.
--
-- A request's record is kept by the request's address, not in ngx.ctx: that is emptied when an error page takes over,
-- and a request that ends there must still leave the gauges it entered. The log phase runs exactly once for each
-- request, whatever happened to it, and removes the record.
local ffi = require "ffi"
local base = require "resty.core.base"
local balancer = require "ngx.balancer"
local bit = require "bit"
local region = require "orchestry_region"
local membership = require "orchestry_membership"
local hold = require "orchestry_hold"

local get_request = base.get_request
local set_current_peer, set_more_tries = balancer.set_current_peer, balancer.set_more_tries
local cast, tonumber, floor, min, log, random = ffi.cast, tonumber, math.floor, math.min, math.log, math.random
local bxor, tobit, lshift, rshift = bit.bxor, bit.tobit, bit.lshift, bit.rshift
local now = region.now
local HEADER, BUCKETS = region.HEADER, region.BUCKETS

-- NGX_BUSY: nginx answers 502 at once, which the error page turns into 503.
local BUSY = -3

local M = {}
local settings
local cells, slot, stride, first
local apps = {}
local records, pool, pooled = {}, {}, 0

local function request_key()
    local key = tonumber(cast("uintptr_t", get_request()))
    return key
end

-- In the master, at start and at each reload, before the workers are forked.
function M.init(options)
    settings = options
    if region.open(options.apps, options.instances, options.slots) then
        local file = io.open(options.membership, "r")
        if file then
            local changed, _, message = membership.put(file:read("*a"))
            file:close()
            if not changed then
                ngx.log(ngx.ERR, "membership file not used: ", message)
            end
        end
    end
    cells, stride, first = region.cells, region.slot_cells, region.first
end

-- In each worker, first of all.
function M.start()
    slot = region.claim()
    if not slot then
        -- Serve uncounted rather than not at all.
        ngx.log(ngx.ERR, "all ", region.slots, " counter slots are taken: this worker's requests are not counted")
    end
    hold.start { slot = slot, socket = settings.wake, current = M.current }
    math.randomseed(ngx.worker.pid() * 65537 + now() % 1000003)
end

-- In each worker, when it exits in good order.
function M.stop()
    if slot then
        region.clear_gauges(slot)
        cells[slot] = 0
    end
end

local function add(offset, amount)
    if slot then
        local at = slot + offset
        cells[at] = cells[at] + amount
    end
end

-- Targets of one weight make a group, which has its share of the requests whatever they have in flight.
local function by_weight(app)
    local groups, found = {}, {}
    for i = 1, app.n do
        local weight = app.weight[i]
        local group = found[weight]
        if not group then
            group = { total = 0, share = 0, turn = 0 }
            found[weight] = group
            groups[#groups + 1] = group
        end
        group[#group + 1] = i
        group.total = group.total + weight
    end
    return groups
end

-- What this worker knows of an app, as new as the last PUT.
local function current(name)
    local app = apps[name]
    if app and app.index and cells[HEADER + app.index] == app.version then
        return app
    end
    local loaded = membership.load(name)
    if not app then
        app = { turn = 0 }
        apps[name] = app
    end
    if not loaded then
        app.index, app.version, app.n, app.hold_seconds = nil, nil, 0, nil
        return app
    end
    app.index, app.version, app.method, app.n = loaded.index, loaded.version, loaded.method, #loaded.targets
    app.offset = region.app_offset(loaded.index)
    app.maintenance, app.hold_seconds, app.hold_limit = nil, nil, nil
    local method, hold_seconds, hold_limit = app.method:match("^([^;]+);hold=(%d+),(%d+)$")
    if method then
        app.method, app.hold_seconds, app.hold_limit = method, tonumber(hold_seconds), tonumber(hold_limit)
    end
    local seconds, message = loaded.method:match("^maintenance:(%d+):(%S*)$")
    if seconds then
        app.maintenance = { seconds = seconds, message = ngx.unescape_uri(message) }
    end
    app.place, app.host, app.port, app.weight, app.seed = {}, {}, {}, {}, {}
    app.uniform, app.total = true, 0
    for i, target in ipairs(loaded.targets) do
        app.place[i] = region.instance_offset(target.index)
        app.host[i], app.port[i], app.weight[i] = target.host, target.port, target.weight
        app.seed[i] = ngx.crc32_long(target.id)
        app.total = app.total + target.weight
        app.uniform = app.uniform and target.weight == loaded.targets[1].weight
    end
    app.groups = not app.uniform and by_weight(app) or nil
    return app
end

M.current = current

local function in_flight(place)
    -- Few slots are the rule; a loop over them would keep LuaJIT from compiling the callers' own.
    local slots, at = cells[1], first + place + 2
    local total = cells[at]
    if slots > 1 then
        total = total + cells[at + stride]
    end
    if slots > 2 then
        total = total + cells[at + 2 * stride]
    end
    if slots > 3 then
        total = total + cells[at + 3 * stride]
    end
    for number = 4, slots - 1 do
        total = total + cells[at + number * stride]
    end
    return total
end

-- Level 1: not tried for this request and not set aside; 2: not tried; 3: any (a kept connection that the instance
-- had closed is retried though its only instance counts as tried).
local function usable(record, place, level, time)
    if level == 3 then
        return true
    end
    for i = 1, record.count do
        if record[i] == place then
            return false
        end
    end
    return level == 2 or not slot or cells[slot + place + 4] <= time
end

-- Of a group, the one with the fewest requests in flight; those that tie take turns.
local function least_of(app, group, record, level, time)
    local best, lowest
    local at = group.turn % #group
    group.turn = at + 1
    for _ = 1, #group do
        at = at + 1
        if at > #group then
            at = 1
        end
        local place = app.place[group[at]]
        if usable(record, place, level, time) then
            local load = in_flight(place)
            if not lowest or load < lowest then
                best, lowest = group[at], load
            end
        end
    end
    return best
end

-- Fewest requests in flight. Where weights differ, groups of one weight take turns by their share first (the smooth
-- rotation nginx uses): fewest in flight per weight would give a canary far more than its share of a light load.
local function least(app, record, level, time)
    local n, place = app.n, app.place
    local best, lowest
    if app.uniform then
        local at = app.turn % n
        app.turn = at + 1
        for _ = 1, n do
            at = at + 1
            if at > n then
                at = 1
            end
            if usable(record, place[at], level, time) then
                local load = in_flight(place[at])
                if not lowest or load < lowest then
                    best, lowest = at, load
                    if load == 0 then
                        return best
                    end
                end
            end
        end
        return best
    end
    local total, found, chosen = 0, nil, nil
    for _, group in ipairs(app.groups) do
        local candidate = least_of(app, group, record, level, time)
        if candidate then
            group.share = group.share + group.total
            total = total + group.total
            if not chosen or group.share > chosen.share then
                found, chosen = candidate, group
            end
        end
    end
    if chosen then
        chosen.share = chosen.share - total
    end
    return found
end

-- Robert Jenkins' mix of a 32-bit integer: adds and shifts only, so doubles stay exact.
local function mix(x)
    x = tobit(tobit(x + 0x7ed55d16) + lshift(x, 12))
    x = bxor(x, tobit(0xc761c23c), rshift(x, 19))
    x = tobit(tobit(x + 0x165667b1) + lshift(x, 5))
    x = bxor(tobit(x + 0xd3a2646c), lshift(x, 9))
    x = tobit(tobit(x + 0xfd7046c5) + lshift(x, 3))
    return bxor(x, tobit(0xb55a4f09), rshift(x, 16))
end

-- Rendezvous hashing: a client stays with its instance while that one serves; weight w wins w times as often.
local function by_address(app, record, level, time)
    local client = tobit(ngx.crc32_short(ngx.var.binary_remote_addr))
    local best, highest
    for i = 1, app.n do
        if usable(record, app.place[i], level, time) then
            local x = mix(bxor(client, mix(tobit(app.seed[i])))) % 4294967296
            local score = -app.weight[i] / log((x + 0.5) / 4294967296)
            if not highest or score > highest then
                best, highest = i, score
            end
        end
    end
    return best
end

local function draw(app)
    local left = random() * app.total
    for i = 1, app.n do
        left = left - app.weight[i]
        if left < 0 then
            return i
        end
    end
    return app.n
end

-- Two drawn by weight, the one with less in flight.
local function random_two(app, record, level, time)
    local a, b = draw(app), draw(app)
    local can_a, can_b = usable(record, app.place[a], level, time), usable(record, app.place[b], level, time)
    if can_a and can_b then
        return in_flight(app.place[b]) / app.weight[b] < in_flight(app.place[a]) / app.weight[a] and b or a
    end
    return can_a and a or can_b and b or least(app, record, level, time)
end

local chosen_by = { ip_hash = by_address, random = random_two }

local function choose(app, record)
    local time = ngx.now()
    local by = chosen_by[app.method] or least
    return by(app, record, 1, time) or by(app, record, 2, time) or by(app, record, 3, time)
end

-- Ends an attempt: the instance's counters, and whether it is left alone for a while.
local function finish(place, failed, unreachable)
    if not slot then
        return
    end
    local at = slot + place
    cells[at] = cells[at] + 1
    cells[at + 2] = cells[at + 2] - 1
    if failed then
        cells[at + 1] = cells[at + 1] + 1
    end
    if unreachable then
        local failures = cells[at + 3] + 1
        cells[at + 3] = failures
        cells[at + 4] = ngx.now() + min(settings.aside * 2 ^ (failures - 1), settings.aside * 8)
    elseif cells[at + 3] > 0 then
        cells[at + 3] = 0
    end
end

local function new_record(key, name)
    local record
    if pooled > 0 then
        record = pool[pooled]
        pooled = pooled - 1
    else
        record = { 0, 0, 0, 0, 0, 0, 0, 0 }
    end
    record.started, record.count, record.place, record.app, record.none = now(), 0, nil, nil, false
    record.maintenance, record.held = nil, nil
    record.name = name
    records[key] = record
    return record
end

-- access_by_lua of apps that scale to zero: the request waits while there is no instance.
function M.hold(name)
    local app = current(name)
    if app.n > 0 or not app.hold_seconds or app.maintenance then
        return
    end
    local refusal, seconds = hold.wait(request_key(), name, app)
    if refusal then
        local record = new_record(request_key(), name)
        record.held, record.seconds = refusal, seconds
        return ngx.exit(502)
    end
end

-- balancer_by_lua: called for the first attempt and for each further one.
function M.balance(name)
    local key = request_key()
    local record = records[key]
    local app = current(name)
    if not record then
        record = new_record(key, name)
    elseif record.place then
        -- nginx asks again: the last attempt failed before the instance answered.
        finish(record.place, true, true)
        record.place = nil
    end
    if app.maintenance then
        record.maintenance = app.maintenance
        return ngx.exit(BUSY)
    end
    local found = app.n > 0 and choose(app, record)
    if not found then
        record.none = record.count == 0
        return ngx.exit(BUSY)
    end
    if record.count == 0 then
        record.app = app.offset
        add(app.offset, 1)
        local more = min(app.n, settings.tries) - 1
        if more > 0 then
            set_more_tries(more)
        end
    end
    local place = app.place[found]
    record.count = record.count + 1
    record[record.count] = place
    record.place = place
    add(place + 2, 1)
    local ok, message = set_current_peer(app.host[found], app.port[found])
    if not ok then
        ngx.log(ngx.ERR, "no such address: ", app.host[found], ": ", message)
        return ngx.exit(BUSY)
    end
end

local function no_answer()
    local times = ngx.var.upstream_header_time
    return times ~= nil and times:sub(-1) == "-"
end

-- log_by_lua of every location of an app, its error page included.
function M.log(name)
    local key = request_key()
    local record = records[key]
    local status = ngx.status
    local offset, microseconds
    hold.left(key)
    if record then
        records[key] = nil
        name = record.name
        offset = record.app
        microseconds = now() - record.started
        if record.place then
            finish(record.place, status >= 500, (status == 502 or status == 504) and no_answer())
            local app = apps[name]
            if slot and app and app.groups and status ~= 101 then
                local at = slot + record.place
                local bucket = at + region.COARSE + floor(region.bucket(microseconds) / 16)
                cells[at + 5] = cells[at + 5] + 1
                cells[bucket] = cells[bucket] + 1
            end
        end
        if offset then
            add(offset, -1)
        end
        pooled = pooled + 1
        pool[pooled] = record
    end
    if not offset then
        -- No instance was chosen: refused, or there was none.
        local app = name and current(name)
        if not app or not app.index then
            return
        end
        offset = app.offset
        microseconds = microseconds or floor((ngx.now() - ngx.req.start_time()) * 1000000)
    end
    if not slot then
        return
    end
    local at = slot + offset
    -- A client that went away before any status counts with the 4xx, as nginx's own 499 does.
    local class = floor(status / 100)
    if class < 1 or class > 5 then
        class = 4
    end
    cells[at + 1 + class] = cells[at + 1 + class] + 1
    if status == 101 then
        -- An upgraded connection's length is no latency; while it lasts it shows as in flight.
        return
    end
    if microseconds < 0 then
        microseconds = 0
    end
    cells[at + 1] = cells[at + 1] + microseconds
    local bucket = region.bucket(microseconds)
    local group = at + 8 + floor(bucket / 64)
    cells[group] = cells[group] + 1
    bucket = at + BUCKETS + bucket
    cells[bucket] = cells[bucket] + 1
end

local escapes = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = '\\"', ["\\"] = "\\\\" }

-- Status, title, seconds until it makes sense to ask again (nil: no telling).
local function reason(record)
    local status = ngx.status
    if record and record.maintenance then
        local message = record.maintenance.message
        return 503, message ~= "" and message or "The app is being worked on", record.maintenance.seconds
    elseif record and record.held then
        return 503, record.held, record.seconds
    elseif record and record.none then
        return 503, "No instance of the app is ready", "1"
    elseif status == 403 then
        return 403, "This client may not reach the app"
    elseif status == 413 then
        return 413, "The request's body is larger than the app takes"
    elseif status == 504 then
        return 504, "The app did not answer in time"
    end
    return status, "The app did not answer"
end

-- The error page of an app's locations, for what nginx itself had to answer.
function M.problem()
    local record = records[request_key()]
    local status, title, seconds = reason(record)
    ngx.status = status
    ngx.header["Retry-After"] = seconds
    local accept, body = ngx.var.http_accept, nil
    -- A page for people, who are told so only where somebody has something to tell them.
    if record and record.maintenance and accept and accept:find("text/html", 1, true) then
        ngx.header["Content-Type"] = "text/html; charset=utf-8"
        title = title:gsub("[&<>]", escapes)
        body = "<!doctype html>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n"
            .. "<title>Maintenance</title>\n<body style=\"font:1.2em sans-serif;margin:20vh auto;max-width:30em;"
            .. "padding:0 1em\">\n<h1>Maintenance</h1>\n<p>" .. title .. "</p>\n"
    else
        ngx.header["Content-Type"] = "application/problem+json"
        body = string.format('{"status":%d,"title":"%s"}\n', status, (title:gsub('["\\]', escapes)))
    end
    ngx.header["Content-Length"] = #body
    ngx.print(body)
end

return M
