-- Requests of an app that has no instance wait here for the first one: in access_by_lua, since a balancer can't yield.
--
-- Each worker lets its own wait on one semaphore per app. One timer of the worker looks each 10 ms whether an app has got
-- an instance (one comparison of numbers), and lets go of a few at a time: a thousand at once would find the new
-- instance's queue of connections full. How many wait is a gauge in the worker's own slot, so the count over all workers
-- is exact and a worker that dies takes its share with it.
local region = require "orchestry_region"
local semaphore = require "ngx.semaphore"

local WAITING = region.WAITING
-- Seconds; the look itself costs about a microsecond.
local LOOK = 0.01
-- Let go at each look.
local PORTION = 64
-- A waiting request looks for itself this often, should the timer have been lost.
local AGAIN = 1
-- The node is told at most this often by a worker: it reads all there is when told.
local TELL = 0.1

local M = {}
local slot, socket, current
-- By app: the semaphore; by request: the offset of its app's counters.
local waiting, held = {}, {}
local told, looking = 0, false

-- In each worker.
function M.start(options)
    slot, socket, current = options.slot, options.socket, options.current
end

local function may_go(app)
    return app.n > 0 or not app.hold_seconds or app.maintenance
end

local function look()
    repeat
        local anybody = false
        for name, queue in pairs(waiting) do
            local count = -queue:count()
            if count > 0 then
                anybody = true
                if may_go(current(name)) then
                    queue:post(math.min(count, PORTION))
                end
            end
        end
        if anybody then
            ngx.sleep(LOOK)
        end
    until not anybody
    looking = false
end

-- A datagram without content: who gets it reads the counters. Nobody there: the node looks by itself each second.
local function tell()
    local time = ngx.now()
    if time - told < TELL then
        return
    end
    told = time
    local sock = ngx.socket.udp()
    if sock:setpeername("unix:" .. socket) then
        sock:send("w")
        sock:close()
    end
end

local function enter(key, app)
    local offset = app.offset
    local at = slot + offset + WAITING
    region.cells[at] = region.cells[at] + 1
    held[key] = offset
    -- Counted first, then compared: two workers at the limit may both refuse, never both admit.
    return region.sum(offset + WAITING, true) <= app.hold_limit
end

-- The request does not wait (any more). Also from the log phase, for one whose client went away.
function M.left(key)
    local offset = held[key]
    if offset then
        held[key] = nil
        local at = slot + offset + WAITING
        region.cells[at] = region.cells[at] - 1
    end
end

-- Returns when the app has an instance; or a reason for a 503 and the seconds until it makes sense to ask again.
function M.wait(key, name, app)
    if not slot then
        return "No instance of the app is ready", "1"
    end
    local seconds = app.hold_seconds
    local deadline = ngx.now() + seconds
    if not enter(key, app) then
        M.left(key)
        return "The app is starting, and too many requests wait for it", "1"
    end
    tell()
    -- It would be read anyway before an instance gets it; and only then it is seen when the client goes away.
    ngx.req.read_body()
    local queue = waiting[name]
    if not queue then
        queue = semaphore.new(0)
        waiting[name] = queue
    end
    while not may_go(app) do
        local left = deadline - ngx.now()
        -- Less than a millisecond is a wait of 0, which does not yield: nginx's clock would stand still, and this with it.
        if left < 0.002 then
            M.left(key)
            return "The app did not start within " .. seconds .. " s", "5"
        end
        if not looking then
            -- Fails in a worker that is about to end; then each looks for itself.
            looking = ngx.timer.at(0, look) == true
        end
        queue:wait(math.min(left, looking and AGAIN or 0.05))
        app = current(name)
        if not may_go(app) then
            tell()
        end
    end
    M.left(key)
end

return M
