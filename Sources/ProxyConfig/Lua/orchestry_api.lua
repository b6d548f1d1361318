-- Chooses the node whose REST facade answers: the leader for writes, any node for reads, the next one when a node does
-- not answer. Every facade can answer everything, since it forwards what only the leader may do: a list that is a moment
-- out of date costs time, never a request.
--
-- The list, of which an empty one is never taken:
--   orchestry-facades 1
--   node|leader <id> <host> <port>      in the order in which reads prefer them
--   end
local balancer = require "ngx.balancer"

local dict = ngx.shared.orchestry
-- A node that did not answer is left alone for so long by this worker, seconds.
local ASIDE = 1

local M = {}
local known, nodes, aside = nil, {}, {}

local function parse(text)
    local body = text:match("^orchestry%-facades 1\n(.*)end\n$")
    if not body then
        return nil, "not a list of facades, or cut short"
    end
    local found = {}
    for line in body:gmatch("[^\n]+") do
        local role, id, host, port = line:match("^(%l+) (%S+) (%S+) (%d+)$")
        if role ~= "node" and role ~= "leader" then
            return nil, "bad line: " .. line
        end
        -- By address too: a node that comes back elsewhere has not failed there.
        found[#found + 1] = {
            key = id .. " " .. host .. ":" .. port, host = host, port = tonumber(port), leads = role == "leader",
        }
    end
    if #found == 0 then
        return nil, "no node"
    end
    return found
end

-- Makes `text` the list. Returns how many nodes it has; or nil and a message.
function M.put(text)
    local found, message = parse(text)
    if not found then
        return nil, message
    end
    local ok, failure = dict:safe_set("facades", text)
    if not ok then
        return nil, failure
    end
    return #found
end

function M.get()
    return dict:get("facades") or ""
end

-- In the master: a list that is there survives a reload.
function M.init(path)
    if dict:get("facades") then
        return
    end
    local file = io.open(path, "r")
    if not file then
        return
    end
    local count, message = M.put(file:read("*a"))
    file:close()
    if not count then
        ngx.log(ngx.ERR, "list of facades not used: ", message)
    end
end

local function current()
    local text = dict:get("facades")
    if text and text ~= known then
        known, nodes = text, parse(text) or nodes
    end
    return nodes
end

local function choose(tried, writes, time)
    local list = current()
    -- 1: not tried for this request and not left alone; 2: not tried; 3: any (a kept connection that the node had closed
    -- is retried though its only node counts as tried).
    for level = 1, 3 do
        for pass = writes and 1 or 2, 2 do
            for _, node in ipairs(list) do
                if (pass == 2 or node.leads) and (level == 3 or not tried[node.key])
                    and (level > 1 or (aside[node.key] or 0) <= time) then
                    return node, #list
                end
            end
        end
    end
    return nil, 0
end

-- balancer_by_lua: called for the first attempt and for each further one.
function M.balance()
    local ctx, time = ngx.ctx, ngx.now()
    local tried = ctx.facades
    if tried then
        local state, status = balancer.get_last_failure()
        -- 503 is an answer: that node only knows of no leader.
        if state == "failed" and status ~= 503 then
            aside[ctx.facade] = time + ASIDE
        end
    else
        tried = {}
        ctx.facades = tried
    end
    local method = ngx.req.get_method()
    local node, count = choose(tried, method ~= "GET" and method ~= "HEAD", time)
    if not node then
        return ngx.exit(ngx.ERROR)
    end
    if not ctx.facade and count > 1 then
        balancer.set_more_tries(math.min(count, 4) - 1)
    end
    ctx.facade = node.key
    tried[node.key] = true
    local ok, message = balancer.set_current_peer(node.host, node.port)
    if not ok then
        ngx.log(ngx.ERR, "no such address: ", node.host, ": ", message)
        return ngx.exit(ngx.ERROR)
    end
end

return M
