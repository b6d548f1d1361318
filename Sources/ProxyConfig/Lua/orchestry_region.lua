-- The counters' memory: one anonymous shared mapping, made by the master and inherited by every worker.
--
-- Each worker owns one *slot* and is its only writer, so counting takes no lock and no atomic operation; whoever reads
-- adds the slots up. All cells are doubles (exact up to 2^53), because LuaJIT handles those without boxing.
-- The mapping lives as long as the master: its address is kept in the shared dictionary, which survives a reload, so
-- old and new workers count into the same memory. A layout of another size is another mapping (and another start id).
--
--   header       16 cells  [0] membership generation, [1] slots used so far, [2] next unused instance, [3] next app
--   versions     one cell per app: the generation in which its targets last changed
--   slots        [0] pid of the owner, 0 if none; [1] times claimed; then apps, then instances
--     app        [0] in flight, [1] microseconds, [2..6] status 1xx..5xx, [7] waiting for a first instance,
--                [8..34] requests per bucket group,
--                [40..1767] histogram buckets
--     instance   [0] requests, [1] errors, [2] in flight, [3] failures in a row, [4] set aside until,
--                [5] requests timed, [8..115] their coarse histogram: 16 buckets of the app's to one
local ffi = require "ffi"

pcall(ffi.cdef, "void *mmap(void *, size_t, int, int, int, long);")
pcall(ffi.cdef, "int kill(int, int);")
pcall(ffi.cdef, "typedef struct { long sec; long nsec; } orchestry_time; int clock_gettime(int, orchestry_time *);")

local C = ffi.C
local dict = ngx.shared.orchestry

local HEADER, SLOT_HEADER, APP, BUCKETS, INSTANCE = 16, 8, 1768, 40, 116
local GROUPS = 27
local COARSE, COARSE_BUCKETS = 8, 108
local WAITING = 7

local M = { APP = APP, BUCKETS = BUCKETS, GROUPS = GROUPS, INSTANCE = INSTANCE, HEADER = HEADER,
    COARSE = COARSE, COARSE_BUCKETS = COARSE_BUCKETS, WAITING = WAITING }

local time = ffi.new("orchestry_time[1]")

-- Microseconds of the monotonic clock, whole.
function M.now()
    C.clock_gettime(1, time)
    local t = time[0]
    return tonumber(t.sec) * 1000000 + math.floor(tonumber(t.nsec) / 1000)
end

-- Makes or finds the mapping. To be called in the master, before the workers are forked.
-- Returns true when it is new, which is when nothing has been counted and no membership is known.
function M.open(apps, instances, slots)
    M.apps, M.instances, M.slots = apps, instances, slots
    M.slot_cells = SLOT_HEADER + apps * APP + instances * INSTANCE
    M.first = HEADER + apps
    -- Keys of one layout never meet those of another: old workers keep reading their own.
    M.prefix = "2:" .. apps .. ":" .. instances .. ":" .. slots .. ":"
    local address = dict:get(M.prefix .. "region")
    local fresh = address == nil
    if fresh then
        local bytes = (M.first + slots * M.slot_cells) * 8
        -- PROT_READ|PROT_WRITE, MAP_SHARED|MAP_ANONYMOUS|MAP_NORESERVE: pages cost memory only once touched.
        local memory = C.mmap(nil, bytes, 3, 0x4021, -1, 0)
        address = tonumber(ffi.cast("intptr_t", memory))
        if address == -1 then
            error("no memory for the counters: " .. bytes .. " bytes")
        end
        assert(dict:safe_set(M.prefix .. "region", address))
        assert(dict:safe_set(M.prefix .. "start",
            string.format("%.0f-%d-%d", ngx.now() * 1000, ngx.worker.pid(), apps)))
    end
    M.cells = ffi.cast("double *", ffi.cast("intptr_t", address))
    return fresh
end

local function alive(pid)
    -- A pid that now belongs to another user answers EPERM: not one of our workers either.
    return pid > 0 and C.kill(pid, 0) == 0
end

function M.slot(number)
    return M.first + number * M.slot_cells
end

-- Gives this worker a slot: one never used, or one whose owner is gone. What the owner counted stays; its gauges end.
function M.claim()
    local cells = M.cells
    for number = 0, M.slots - 1 do
        local base = M.slot(number)
        if not alive(cells[base]) then
            -- Exactly one of the workers starting now can add this key.
            local claims = cells[base + 1]
            if dict:add(M.prefix .. "claim:" .. number .. ":" .. claims, true) then
                dict:delete(M.prefix .. "claim:" .. number .. ":" .. (claims - 1))
                M.clear_gauges(base)
                cells[base] = ngx.worker.pid()
                cells[base + 1] = claims + 1
                if cells[1] < number + 1 then
                    cells[1] = number + 1
                end
                return base
            end
        end
    end
    return nil
end

function M.clear_gauges(base)
    local cells = M.cells
    for app = 0, cells[3] - 1 do
        local at = base + SLOT_HEADER + app * APP
        cells[at], cells[at + WAITING] = 0, 0
    end
    local instances = base + SLOT_HEADER + M.apps * APP
    for instance = 0, cells[2] - 1 do
        local at = instances + instance * INSTANCE
        cells[at + 2], cells[at + 3], cells[at + 4] = 0, 0, 0
    end
end

-- Offsets within a slot.
function M.app_offset(app)
    return SLOT_HEADER + app * APP
end

function M.instance_offset(instance)
    return SLOT_HEADER + M.apps * APP + instance * INSTANCE
end

-- The sum of one cell over the slots. `gauge`: a dead worker's share does not count.
function M.sum(offset, gauge)
    local cells, total = M.cells, 0
    for number = 0, cells[1] - 1 do
        local base = M.slot(number)
        if not gauge or alive(cells[base]) then
            total = total + cells[base + offset]
        end
    end
    return total
end

function M.clear_app(app)
    local cells = M.cells
    for number = 0, cells[1] - 1 do
        local at = M.slot(number) + M.app_offset(app)
        for group = 0, GROUPS - 1 do
            if cells[at + 8 + group] > 0 then
                for bucket = group * 64, group * 64 + 63 do
                    cells[at + BUCKETS + bucket] = 0
                end
            end
        end
        for cell = 0, BUCKETS - 1 do
            cells[at + cell] = 0
        end
    end
end

function M.clear_instance(instance)
    local cells = M.cells
    for number = 0, cells[1] - 1 do
        local at = M.slot(number) + M.instance_offset(instance)
        -- Pages that were never touched stay untouched.
        local last = cells[at + 5] > 0 and INSTANCE - 1 or COARSE - 1
        for cell = 0, last do
            cells[at + cell] = 0
        end
    end
end

-- The bucket of a duration in whole microseconds; the rule of LatencyHistogram: exact below 64, then 64 a doubling.
function M.bucket(microseconds)
    if microseconds > 4294967295 then
        return 1727
    end
    -- Halved until below 128. Without a loop: LuaJIT would not compile a function that calls one of so few rounds.
    local shift, rest = 0, microseconds
    if rest >= 4194304 then
        shift, rest = 16, rest / 65536
    end
    if rest >= 16384 then
        shift, rest = shift + 8, rest / 256
    end
    if rest >= 1024 then
        shift, rest = shift + 4, rest / 16
    end
    if rest >= 256 then
        shift, rest = shift + 2, rest / 4
    end
    if rest >= 128 then
        shift, rest = shift + 1, rest / 2
    end
    return shift * 64 + math.floor(rest)
end

return M
