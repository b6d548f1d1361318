import Foundation
import OrchestryModel
import ProxyConfig
import ProxyControl
import Synchronization
import TestSupport
import Testing

/// Requests of an app without an instance wait in nginx for the first one.
@Suite(.serialized, .enabled(if: Installed.lua, "nginx with libnginx-mod-http-lua and lua-resty-core is needed"))
struct HoldTests {
    private func idle(
        _ proxy: ProxyFixture, _ name: String = "web", on backends: [Int] = [], seconds: Int = 20, limit: Int = 100,
        holds: Bool = true
    ) -> RoutingTable.Route {
        var route = proxy.route(name, on: backends)
        route.activation = .init(holds: holds, holdSeconds: seconds, holdLimit: limit)
        return route
    }

    /// Sends requests without waiting for what comes of them.
    private func ask(
        _ proxy: ProxyFixture, times: Int = 1, host: String = "web", _ path: String = "/", more: String = ""
    ) throws -> [Connection] {
        try (0..<times).map { _ in
            let connection = try Connection(port: proxy.port)
            try connection.send("GET \(path) HTTP/1.1\r\nHost: \(host)\r\nConnection: close\r\n\(more)\r\n")
            return connection
        }
    }

    private func replies(_ connections: [Connection]) throws -> [Reply] {
        try connections.map { connection in
            let text = try connection.receive()
            return try #require(Reply(text), "\(text)")
        }
    }

    private func waiting(_ proxy: ProxyFixture, _ name: String = "web") async throws -> UInt64 {
        try await proxy.controller.readHeld().first { $0.app.rawValue == name }?.requests ?? 0
    }

    private func untilWaiting(_ proxy: ProxyFixture, _ count: UInt64) async throws {
        var last: UInt64 = 0
        let came = try await eventually {
            last = try await waiting(proxy)
            return last == count
        }
        try #require(came, "\(last) wait, not \(count)")
    }

    @Test func `requests wait for the first instance, and all are served`() async throws {
        try await ProxyFixture.run { proxy in
            let woken = Mutex(0)
            let listener = Task {
                for await _ in proxy.controller.wakes { woken.withLock { $0 += 1 } }
            }
            defer { listener.cancel() }
            try await proxy.controller.apply(proxy.table(1, idle(proxy)))
            let crowd = try ask(proxy, times: 80)
            try await untilWaiting(proxy, 80)
            #expect(await eventually { woken.withLock { $0 } > 0 })
            let result = try await proxy.controller.apply(proxy.table(2, idle(proxy, on: [0])))
            #expect(!result.reloaded)
            let answers = try replies(crowd)
            #expect(answers.allSatisfy { $0.status == 200 && $0.body == "A\n" })
            try await untilWaiting(proxy, 0)
            let counters = try await proxy.counters { $0.requests == 80 && $0.inFlight == 0 }
            #expect(counters.statusClasses == [0, 80, 0, 0, 0])
            // Whoever comes later does not wait.
            #expect(try await proxy.get("web").body == "A\n")
        }
    }

    @Test func `a request with a body and a WebSocket wait too`() async throws {
        try await ProxyFixture.run { proxy in
            try await proxy.controller.apply(proxy.table(1, idle(proxy)))
            let body = String(repeating: "x", count: 6_000)
            async let posted = request(proxy.port, host: "web", "/echo", method: "POST", body: body)
            let socket = try ask(
                proxy, "/websocket", more: "Upgrade: websocket\r\n")[0]
            try await untilWaiting(proxy, 2)
            try await proxy.controller.apply(proxy.table(2, idle(proxy, on: [0])))
            let echo = try await posted
            #expect(echo.status == 200 && echo.body.hasSuffix(body), "\(echo.status) \(echo.body.prefix(400))")
            let answer = try socket.receive { $0.hasSuffix("\r\n\r\n") }
            #expect(answer.hasPrefix("HTTP/1.1 101"))
            try socket.send("hello\n")
            #expect(try socket.receive { $0.hasSuffix("\n") } == "echo hello\n")
        }
    }

    @Test func `one that waits too long is told so`() async throws {
        try await ProxyFixture.run { proxy in
            try await proxy.controller.apply(proxy.table(1, idle(proxy, seconds: 1)))
            let begun = ContinuousClock.now
            let reply = try await proxy.get("web")
            #expect(ContinuousClock.now - begun >= .milliseconds(900))
            #expect(reply.status == 503)
            #expect(reply.headers["retry-after"] == "5")
            #expect(reply.body == "{\"status\":503,\"title\":\"The app did not start within 1 s\"}\n")
            try await untilWaiting(proxy, 0)
            let counters = try await proxy.counters { $0.requests == 1 }
            #expect(counters.statusClasses == [0, 0, 0, 0, 1])
        }
    }

    @Test func `not more wait than may, over all workers`() async throws {
        try await ProxyFixture.run { proxy in
            try await proxy.controller.apply(proxy.table(1, idle(proxy, limit: 30)))
            let crowd = try ask(proxy, times: 30)
            try await untilWaiting(proxy, 30)
            let refused = try replies(ask(proxy, times: 20))
            #expect(refused.allSatisfy { $0.status == 503 && $0.headers["retry-after"] == "1" })
            #expect(refused[0].body.contains("too many requests wait"))
            #expect(try await waiting(proxy) == 30)
            try await proxy.controller.apply(proxy.table(2, idle(proxy, on: [0])))
            let answers = try replies(crowd)
            #expect(answers.allSatisfy { $0.status == 200 })
        }
    }

    @Test func `a client that goes away leaves the queue`() async throws {
        try await ProxyFixture.run { proxy in
            try await proxy.controller.apply(proxy.table(1, idle(proxy, limit: 5)))
            var crowd = try ask(proxy, times: 5)
            try await untilWaiting(proxy, 5)
            crowd.removeLast(3)  // Closes them.
            try await untilWaiting(proxy, 2)
            let late = try ask(proxy, times: 3)
            try await untilWaiting(proxy, 5)
            try await proxy.controller.apply(proxy.table(2, idle(proxy, on: [0])))
            let answers = try replies(crowd + late)
            #expect(answers.allSatisfy { $0.status == 200 })
        }
    }

    @Test func `an app that is down, or being worked on, lets nobody wait`() async throws {
        try await ProxyFixture.run { proxy in
            var route = idle(proxy, holds: false)
            try await proxy.controller.apply(proxy.table(1, route))
            let down = try await proxy.get("web")
            #expect(down.status == 503)
            #expect(down.body.contains("No instance of the app is ready"))
            // Up again: without a reload. Then maintenance ends the wait of those that do.
            let up = try await proxy.controller.apply(proxy.table(2, idle(proxy)))
            #expect(!up.reloaded)
            let crowd = try ask(proxy, times: 3)
            try await untilWaiting(proxy, 3)
            route.activation?.holds = true
            route.routing.maintenance = .init(retryAfterSeconds: 77)
            try await proxy.controller.apply(proxy.table(3, route))
            let answers = try replies(crowd)
            #expect(answers.allSatisfy { $0.status == 503 && $0.headers["retry-after"] == "77" })
        }
    }

    @Test func `a worker that is killed takes its share of the queue with it`() async throws {
        try await ProxyFixture.run { proxy in
            try await proxy.controller.apply(proxy.table(1, idle(proxy, limit: 40)))
            let crowd = try ask(proxy, times: 40)
            try await untilWaiting(proxy, 40)
            let before = proxy.workers
            for worker in before { kill(worker, SIGKILL) }
            #expect(await eventually { proxy.workers.count == before.count && proxy.workers.isDisjoint(with: before) })
            try await untilWaiting(proxy, 0)
            _ = crowd.count
            // There is room for as many again.
            let second = try ask(proxy, times: 40)
            try await untilWaiting(proxy, 40)
            try await proxy.controller.apply(proxy.table(2, idle(proxy, on: [0])))
            let answers = try replies(second)
            #expect(answers.allSatisfy { $0.status == 200 })
        }
    }

    @Test func `a reload loses nobody who waits`() async throws {
        try await ProxyFixture.run { proxy in
            try await proxy.controller.apply(proxy.table(1, idle(proxy)))
            let first = try ask(proxy, times: 20)
            try await untilWaiting(proxy, 20)
            let old = proxy.workers
            // Another host is another structure.
            let reloaded = try await proxy.controller.apply(
                proxy.table(2, idle(proxy), proxy.route("other", on: [1])))
            #expect(reloaded.reloaded)
            let second = try ask(proxy, times: 20)
            // Those of the old workers and of the new ones are one queue.
            try await untilWaiting(proxy, 40)
            #expect(!proxy.workers.isDisjoint(with: old))
            try await proxy.controller.apply(
                proxy.table(3, idle(proxy, on: [0]), proxy.route("other", on: [1])))
            let answers = try replies(first + second)
            #expect(answers.allSatisfy { $0.status == 200 && $0.body == "A\n" })
            #expect(await eventually { proxy.workers.isDisjoint(with: old) })
        }
    }

    @Test func `a node that comes back is told of those who wait`() async throws {
        try await ProxyFixture.run { proxy in
            try await proxy.controller.apply(proxy.table(1, idle(proxy)))
            await proxy.controller.release()
            let crowd = try ask(proxy, times: 2)
            let next = ProxyFixture.controller(proxy.settings, proxy.events)
            try await next.start()
            let waits = try await eventually { try await next.readHeld().first?.requests == 2 }
            #expect(waits)
            // They say so again each second, should it have been missed.
            for await _ in next.wakes { break }
            try await next.apply(proxy.table(2, idle(proxy, on: [0])))
            let answers = try replies(crowd)
            #expect(answers.allSatisfy { $0.status == 200 })
            await next.release()
        }
    }

    @Test func `what nginx says of those who wait is read as a whole or not at all`() {
        let web = HeldRequests.Waiting(app: AppName(unchecked: "web"), requests: 12)
        #expect(HeldCounts.parse("held 1\nweb 12\nend\n") == [web])
        #expect(HeldCounts.parse("held 1\nend\n") == [])
        for bad in ["", "held 1\nweb 12\n", "held 2\nend\n", "held 1\nweb\nend\n", "held 1\nweb 0\nend\n"] {
            #expect(HeldCounts.parse(bad) == nil, "\(bad)")
        }
    }
}
