import Foundation
import OrchestryModel
import ProxyConfig
import ProxyControl
import TestSupport
import Testing

@Suite(.serialized, .enabled(if: Installed.lua, "nginx with libnginx-mod-http-lua and lua-resty-core is needed"))
struct CountingTests {
    @Test func `every request is counted once, also across a reload`() async throws {
        try await ProxyFixture.run { proxy in
            try await proxy.controller.apply(proxy.table(1, proxy.route("web", on: [0, 1])))
            let paths = Array(repeating: "/", count: 20) + ["/status/404", "/status/301", "/status/503"]
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<8 {
                    group.addTask {
                        for path in paths + paths { _ = try await proxy.get("web", path) }
                    }
                }
                try await group.waitForAll()
            }
            // A new app is a new structure: the workers change, their counts stay.
            let result = try await proxy.controller.apply(
                proxy.table(2, proxy.route("web", on: [0, 1]), proxy.route("other", on: [0])))
            #expect(result.reloaded)
            for _ in 0..<10 { _ = try await proxy.get("web") }
            let total = UInt64(8 * 2 * paths.count + 10)
            let counts = try await proxy.counters { $0.requests >= total && $0.inFlight == 0 }
            #expect(counts.requests == total)
            #expect(counts.statusClasses == [0, 330, 16, 16, 16])
            #expect(counts.latency.count == total)
            #expect(counts.instances.values.reduce(0) { $0 + $1.requests } == total)
            #expect(counts.instances.values.reduce(0) { $0 + $1.errors } == 16)
            #expect(counts.instances.values.allSatisfy { $0.inFlight == 0 && $0.requests > total / 4 })
            #expect(counts.requestMicroseconds > total * 10)
            #expect(try await proxy.counters("other").requests == 0)
            #expect(try await proxy.controller.readStatus().requests >= total)
        }
    }

    @Test func `durations are in the histogram`() async throws {
        try await ProxyFixture.run { proxy in
            try await proxy.controller.apply(proxy.table(1, proxy.route("web", on: [0])))
            async let first = proxy.get("web", "/sleep/2")
            async let second = proxy.get("web", "/sleep/2")
            let during = try await proxy.counters { $0.inFlight == 2 }
            #expect(during.instances[proxy.id("web", "a")]?.inFlight == 2)
            #expect(during.requests == 0)
            #expect(try await [first.status, second.status] == [200, 200])
            let after = try await proxy.counters { $0.requests == 2 }
            #expect(after.inFlight == 0)
            let p50 = try #require(after.latency.percentileMilliseconds(0.5))
            #expect((2000..<4000).contains(p50))
            #expect(abs(Double(after.requestMicroseconds) / 2000 - p50) < 200)
        }
    }

    @Test func `an endpoint that is gone costs no request`() async throws {
        try await ProxyFixture.run { proxy in
            let dead = try PortHolder.free(1)[0]
            try await proxy.controller.apply(
                proxy.table(1, proxy.route("web", at: [("dead", dead), ("a", proxy.backend.ports[0])])))
            for _ in 0..<40 { #expect(try await proxy.get("web").body == "A\n") }
            // A POST that never reached an instance may be sent to another.
            for _ in 0..<5 {
                let reply = try await request(proxy.port, host: "web", "/echo", method: "POST", body: "x")
                #expect(reply.status == 200)
            }
            let counts = try await proxy.counters { $0.requests == 45 && $0.inFlight == 0 }
            let gone = try #require(counts.instances[proxy.id("web", "dead")])
            #expect(gone.errors == gone.requests)
            // Not each request tries it: it is left alone after a failure.
            #expect((1...20).contains(gone.requests), "\(gone)")
            #expect(counts.instances[proxy.id("web", "a")] == .init(requests: 45))
            #expect(counts.statusClasses == [0, 45, 0, 0, 0])
        }
    }

    @Test func `no instance answers`() async throws {
        try await ProxyFixture.run { proxy in
            let dead = try PortHolder.free(2)
            try await proxy.controller.apply(
                proxy.table(
                    1, proxy.route("web", at: [("x", dead[0]), ("y", dead[1])]),
                    proxy.route("hang", on: [0, 1]), proxy.route("none", on: [])))
            let reply = try await proxy.get("web")
            #expect(reply.status == 502)
            #expect(reply.body.hasPrefix("{\"status\":502,"))
            #expect(reply.headers["retry-after"] == nil)
            let counts = try await proxy.counters { $0.requests == 1 && $0.inFlight == 0 }
            #expect(
                counts.instances == [
                    proxy.id("web", "x"): .init(requests: 1, errors: 1),
                    proxy.id("web", "y"): .init(requests: 1, errors: 1),
                ])
            #expect(counts.latency.count == 1)
            // A POST that an instance has read is not sent to the other.
            #expect(try await request(proxy.port, host: "hang", "/hangup", method: "POST", body: "x").status == 502)
            let hang = try await proxy.counters("hang") { $0.requests == 1 && $0.inFlight == 0 }
            #expect(hang.instances.values.reduce(0) { $0 + $1.requests } == 1)
            #expect(try await proxy.get("none").status == 503)
            let none = try await proxy.counters("none") { $0.requests == 1 }
            #expect(none.statusClasses == [0, 0, 0, 0, 1])
            #expect(none.inFlight == 0)
        }
    }

    @Test func `an app can't send nginx elsewhere, and its gauge comes back`() async throws {
        try await ProxyFixture.run { proxy in
            try await proxy.controller.apply(proxy.table(1, proxy.route("web", on: [0])))
            #expect(try await proxy.get("web", "/elsewhere").body == "no\n")
            // A client that leaves early: the request ends, and leaves the gauge.
            do {
                let connection = try Connection(port: proxy.port)
                try connection.send("GET /sleep/5 HTTP/1.1\r\nHost: web\r\n\r\n")
                _ = try await proxy.counters { $0.inFlight == 1 }
            }
            let counts = try await proxy.counters { $0.requests == 2 }
            #expect(counts.inFlight == 0)
            #expect(counts.statusClasses == [0, 1, 0, 1, 0])
            #expect(counts.instances[proxy.id("web", "a")] == .init(requests: 2))
        }
    }

    @Test func `a worker that crashes takes its gauge with it`() async throws {
        try await ProxyFixture.run(change: { $0.workerProcesses = 1 }) { proxy in
            try await proxy.controller.apply(proxy.table(1, proxy.route("web", on: [0])))
            #expect(try await proxy.get("web").status == 200)
            // The one before the table's structure may not have ended yet: the new one is to be killed.
            try #require(await eventually { proxy.workers.count == 1 })
            let worker = try #require(proxy.workers.first)
            let connection = try Connection(port: proxy.port)
            try connection.send("GET /sleep/20 HTTP/1.1\r\nHost: web\r\n\r\n")
            _ = try await proxy.counters { $0.inFlight == 1 }
            kill(worker, SIGKILL)
            #expect(await eventually { proxy.workers.count == 1 && !proxy.workers.contains(worker) })
            let counts = try await proxy.counters { $0.inFlight == 0 && $0.requests == 1 }
            #expect(counts.instances[proxy.id("web", "a")] == .init(requests: 1))
        }
    }

    @Test func `the bucket rule is the model's`() async throws {
        let extra = """
            location /buckets { content_by_lua_block {
              ngx.req.read_body()
              local region = require "orchestry_region"
              for value in ngx.req.get_body_data():gmatch("%d+") do ngx.say(region.bucket(tonumber(value))) end } }
            """
        let backend = try Backend(count: 1, withLua: extra)
        var values = Array(UInt64(0)...300)
        for shift in 8...40 {
            let power = UInt64(1) << UInt64(shift)
            values += [power - 1, power, power + 1, power + power / 2 - 1, power + power / 3]
        }
        let body = values.map(String.init).joined(separator: " ")
        let reply = try await request(backend.ports[0], host: "x", "/buckets", method: "POST", body: body)
        let numbers = reply.body.split(separator: "\n").map(String.init)
        let expected = values.map { String(LatencyHistogram.index(ofMicroseconds: $0)) }
        #expect(numbers == expected)
    }
}
