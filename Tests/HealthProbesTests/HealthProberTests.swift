import Foundation
import HealthProbes
import Logging
import NIOCore
import NIOPosix
import OrchestryModel
import Synchronization
import TestSupport
import Testing

@Suite struct HealthProberTests {
    private let instance = InstanceID(unchecked: "web-1-aaaaaa")

    /// Collects results as they come.
    final class Results: Sendable {
        private let list = Mutex<[ProbeResult]>([])
        var all: [ProbeResult] { list.withLock { $0 } }
        func add(_ result: ProbeResult) { list.withLock { $0.append(result) } }
    }

    private func check(_ kind: AppSpec.HealthCheck.Kind, change: (inout AppSpec.HealthCheck) -> Void = { _ in })
        -> AppSpec.HealthCheck
    {
        var check = AppSpec.HealthCheck(kind: kind, path: "/health", periodSeconds: 0.1, timeoutSeconds: 5)
        change(&check)
        return check
    }

    /// Probes `endpoint` until there are `count` results.
    private func probe(_ endpoint: Endpoint, _ check: AppSpec.HealthCheck, count: Int = 1) async throws -> [ProbeResult]
    {
        let prober = HealthProber(eventLoopGroup: MultiThreadedEventLoopGroup.singleton, logger: Logger(label: "test"))
        let results = Results()
        prober.start(instance, check: check, probeEndpoint: endpoint) { _, result in results.add(result) }
        do {
            try await wait("\(count) results") { results.all.count >= count }
        } catch {
            await prober.shutdown()
            throw error
        }
        await prober.shutdown()
        return results.all
    }

    private func wait(_ what: String, _ condition: () -> Bool) async throws {
        struct TimedOut: Error {
            var what: String
        }
        guard await eventually(every: .milliseconds(5), condition) else { throw TimedOut(what: what) }
    }

    struct Answer: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var pieces: [String]
        var expected: [Int] = []
        var ranges: [AppSpec.StatusRange] = []
        var outcome: ProbeResult.Outcome
    }

    @Test(arguments: [
        Answer(testDescription: "200", pieces: ["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"], outcome: .success),
        Answer(
            testDescription: "any redirect, not followed",
            pieces: ["HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n"], outcome: .success),
        Answer(
            testDescription: "split anywhere", pieces: ["HT", "TP/1.1 2", "00", " OK\r", "\n\r\n"], outcome: .success),
        Answer(testDescription: "no reason phrase", pieces: ["HTTP/1.0 204\r\n\r\n"], outcome: .success),
        Answer(
            testDescription: "after interim answers",
            pieces: [
                "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 ", "200 OK\r\n\r\n",
            ], outcome: .success),
        Answer(
            testDescription: "503", pieces: ["HTTP/1.1 503 Service Unavailable\r\n\r\n"],
            outcome: .failure(.unexpectedStatus(503))),
        Answer(
            testDescription: "404", pieces: ["HTTP/1.1 404 Not Found\r\n\r\n"],
            outcome: .failure(.unexpectedStatus(404))),
        Answer(
            testDescription: "404 where it is expected", pieces: ["HTTP/1.1 404 Not Found\r\n\r\n"], expected: [404],
            outcome: .success),
        Answer(
            testDescription: "418 where a class is expected", pieces: ["HTTP/1.1 418 Teapot\r\n\r\n"],
            ranges: [.init(first: 200, last: 299), .init(first: 400, last: 499)], outcome: .success),
        Answer(
            testDescription: "302 where only 200-299 is expected", pieces: ["HTTP/1.1 302 Found\r\n\r\n"],
            ranges: [.init(first: 200, last: 299)], outcome: .failure(.unexpectedStatus(302))),
        Answer(
            testDescription: "200 where 204 is expected", pieces: ["HTTP/1.1 200 OK\r\n\r\n"], expected: [204],
            outcome: .failure(.unexpectedStatus(200))),
        Answer(testDescription: "another protocol", pieces: ["SSH-2.0-OpenSSH_9.2\r\n"], outcome: .failure(.malformed)),
        Answer(
            testDescription: "a status that is none", pieces: ["HTTP/1.1 2000 OK\r\n\r\n"],
            outcome: .failure(.malformed)),
        Answer(testDescription: "half a status line", pieces: ["HTTP/1.1 20"], outcome: .failure(.closed)),
    ])
    func `an answer's status decides`(_ answer: Answer) async throws {
        let server = try await ProbeServer.start(.answer(answer.pieces))
        let results = try await probe(
            server.endpoint,
            check(.http) {
                $0.expectedStatuses = answer.expected
                $0.expectedStatusRanges = answer.ranges
            })
        #expect(results.first?.outcome == answer.outcome)
        try await server.stop()
    }

    @Test func `a port where nobody listens is refused`() async throws {
        let server = try await ProbeServer.start(.mute)
        let endpoint = server.endpoint
        try await server.stop()
        for kind in [AppSpec.HealthCheck.Kind.http, .tcp] {
            #expect(try await probe(endpoint, check(kind)).first?.outcome == .failure(.refused))
        }
    }

    @Test func `no answer in time is a timeout`() async throws {
        let server = try await ProbeServer.start(.mute)
        let results = try await probe(server.endpoint, check(.http) { $0.timeoutSeconds = 0.05 })
        #expect(results.first?.failure == .timeout(.milliseconds(50)))
        #expect((results.first?.elapsed ?? .zero) >= .milliseconds(50))
        try await wait("the connection to be closed") { server.open == 0 }
        // For TCP the connection itself is the answer.
        #expect(try await probe(server.endpoint, check(.tcp)).first?.outcome == .success)
        try await server.stop()
    }

    @Test func `a connection that ends without an answer is a failure`() async throws {
        let server = try await ProbeServer.start(.closeAtOnce)
        #expect(try await probe(server.endpoint, check(.http)).first?.outcome == .failure(.closed))
        try await server.stop()
    }

    @Test func `what is no address is unreachable`() async throws {
        let results = try await probe(Endpoint(host: "not-an-address", port: 80), check(.http), count: 2)
        guard case .failure(.unreachable(let reason)) = results.first?.outcome else {
            Issue.record("\(results)")
            return
        }
        #expect(reason.contains("not-an-address"))
    }

    @Test func `a request is what the check says`() async throws {
        let server = try await ProbeServer.start(.answer(["HTTP/1.1 200 OK\r\n\r\n"]))
        _ = try await probe(server.endpoint, check(.http))
        #expect(
            server.requests.first
                == "GET /health HTTP/1.1\r\nHost: \(server.endpoint)\r\nUser-Agent: orchestry-probe\r\nConnection: close\r\n\r\n"
        )
        let before = server.requests.count
        _ = try await probe(
            server.endpoint,
            check(.http) {
                $0.method = "POST"
                $0.path = "/a b\r\nX: y"
                $0.headers = ["Host": "web.example", "X-Token": "a\r\nInjected: b", "Content-Length": "3"]
                $0.body = "hello!"
            })
        #expect(
            server.requests[before]
                == "POST /a%20bX:%20y HTTP/1.1\r\nUser-Agent: orchestry-probe\r\nHost: web.example\r\n"
                + "X-Token: aInjected: b\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello!")
        try await server.stop()
    }

    @Test func `a check of kind none always succeeds`() async throws {
        let results = try await probe(Endpoint(host: "127.0.0.1", port: 1), check(.none), count: 3)
        #expect(results.allSatisfy { $0.isSuccess })
    }

    @Test func `an instance is probed quickly until it is ready, then each period`() async throws {
        let server = try await ProbeServer.start(.answer(["HTTP/1.1 503 Service Unavailable\r\n\r\n"]))
        let prober = HealthProber(eventLoopGroup: MultiThreadedEventLoopGroup.singleton, logger: Logger(label: "test"))
        let results = Results()
        // With the period alone the second result would come after an hour.
        let slow = check(.http) {
            $0.periodSeconds = 3_600
            $0.initialDelaySeconds = 3_600
            $0.successThreshold = 2
        }
        prober.start(instance, check: slow, probeEndpoint: server.endpoint) { _, result in results.add(result) }
        try await wait("three failures") { results.all.count >= 3 }
        server.set(.answer(["HTTP/1.1 200 OK\r\n\r\n"]))
        try await wait("two successes") { results.all.filter(\.isSuccess).count == 2 }
        let ready = results.all.count
        // Four times the quick period: one more result would have come.
        try await Task.sleep(for: .seconds(1))
        #expect(results.all.count == ready)
        await prober.shutdown()
        try await server.stop()
    }

    @Test func `one probe at a time, even where the server is slower than the period`() async throws {
        let server = try await ProbeServer.start(.mute)
        let prober = HealthProber(eventLoopGroup: MultiThreadedEventLoopGroup.singleton, logger: Logger(label: "test"))
        let results = Results()
        let check = check(.http) {
            $0.periodSeconds = 0.01
            $0.timeoutSeconds = 0.1
        }
        prober.start(instance, check: check, probeEndpoint: server.endpoint) { _, result in results.add(result) }
        try await wait("some results") {
            // In this order: both only rise.
            let requests = server.requests.count
            let finished = results.all.count
            #expect(requests <= finished + 1)
            return finished >= 8
        }
        await prober.shutdown()
        try await server.stop()
    }

    @Test func `after a stop nothing is delivered`() async throws {
        let server = try await ProbeServer.start(.mute)
        let prober = HealthProber(eventLoopGroup: MultiThreadedEventLoopGroup.singleton, logger: Logger(label: "test"))
        let results = Results()
        prober.start(instance, check: check(.http) { $0.timeoutSeconds = 0.3 }, probeEndpoint: server.endpoint) {
            _, result in
            results.add(result)
        }
        try await wait("a probe under way") { server.requests.count == 1 }
        prober.stop(instance)
        prober.stop(instance)
        try await wait("the connection to be closed") { server.open == 0 }
        // Longer than the timeout and the next quick probe.
        try await Task.sleep(for: .milliseconds(700))
        #expect(results.all.isEmpty && server.requests.count == 1)
        await prober.shutdown()
        try await server.stop()
    }

    @Test func `starting again replaces the check`() async throws {
        let old = try await ProbeServer.start(.answer(["HTTP/1.1 200 OK\r\n\r\n"]))
        let new = try await ProbeServer.start(.answer(["HTTP/1.1 500 Oh\r\n\r\n"]))
        let prober = HealthProber(eventLoopGroup: MultiThreadedEventLoopGroup.singleton, logger: Logger(label: "test"))
        let first = Results()
        let second = Results()
        prober.start(instance, check: check(.http), probeEndpoint: old.endpoint) { _, result in first.add(result) }
        try await wait("a first result") { !first.all.isEmpty }
        prober.start(instance, check: check(.http), probeEndpoint: new.endpoint) { _, result in second.add(result) }
        // A delivery that had begun may still end.
        try await wait("a second result") { second.all.count >= 3 }
        let left = first.all.count
        try await wait("more results") { second.all.count >= 6 }
        #expect(first.all.count == left && second.all.allSatisfy { $0.failure == .unexpectedStatus(500) })
        await prober.shutdown()
        try await old.stop()
        try await new.stop()
    }

    @Test func `many instances are probed at once`() async throws {
        let server = try await ProbeServer.start(.answer(["HTTP/1.1 200 OK\r\n\r\n"]))
        let prober = HealthProber(eventLoopGroup: MultiThreadedEventLoopGroup.singleton, logger: Logger(label: "test"))
        let seen = Mutex<Set<InstanceID>>([])
        for number in 0..<100 {
            prober.start(InstanceID(unchecked: "web-1-\(number)"), check: check(.http), probeEndpoint: server.endpoint)
            { instance, result in
                if result.isSuccess { _ = seen.withLock { $0.insert(instance) } }
            }
        }
        try await wait("a success of each") { seen.withLock { $0.count } == 100 }
        await prober.shutdown()
        try await wait("all connections closed") { server.open == 0 }
        try await server.stop()
    }

    @Test func `a command's exit code decides, one at a time, and without an address`() async throws {
        let prober = HealthProber(eventLoopGroup: MultiThreadedEventLoopGroup.singleton, logger: Logger(label: "test"))
        let results = Results()
        let calls = Mutex<(running: Int, most: Int, all: Int)>((0, 0, 0))
        let command = check(.command) {
            $0.command = ["check", "--all"]
            $0.periodSeconds = 0.1
            $0.timeoutSeconds = 3
        }
        prober.start(
            instance, check: command, probeEndpoint: nil,
            runCommand: { words, limit throws(ProbeFailure) in
                let number = calls.withLock { calls in
                    calls.running += 1
                    calls.all += 1
                    calls.most = max(calls.most, calls.running)
                    return calls.all
                }
                defer { calls.withLock { $0.running -= 1 } }
                guard words == ["check", "--all"], limit == .seconds(3) else { throw .notRun("wrong words") }
                // Longer than the period: the next one must wait.
                do { try await Task.sleep(for: .milliseconds(150)) } catch { throw .closed }
                if number == 3 { throw .timeout(limit) }
                return number == 2 ? 7 : 0
            }
        ) { _, result in results.add(result) }
        try await wait("four results") { results.all.count >= 4 }
        await prober.shutdown()
        #expect(
            results.all.prefix(4).map(\.outcome) == [
                .success, .failure(.exitCode(7)), .failure(.timeout(.seconds(3))), .success,
            ])
        #expect(calls.withLock { $0.most } == 1)
    }

    @Test func `an instance has a probe for each purpose, stopped together or alone`() async throws {
        let server = try await ProbeServer.start(.answer(["HTTP/1.1 200 OK\r\n\r\n"]))
        let prober = HealthProber(eventLoopGroup: MultiThreadedEventLoopGroup.singleton, logger: Logger(label: "test"))
        let (ready, alive) = (Results(), Results())
        for (purpose, results) in [(HealthProber.Purpose.readiness, ready), (.liveness, alive)] {
            prober.start(instance, purpose: purpose, check: check(.http), probeEndpoint: server.endpoint) { _, result in
                results.add(result)
            }
        }
        try await wait("results of both") { ready.all.count > 2 && alive.all.count > 2 }
        prober.stop(instance, .readiness)
        let readyThen = ready.all.count
        let aliveThen = alive.all.count
        try await wait("more of the other") { alive.all.count > aliveThen + 2 }
        #expect(ready.all.count <= readyThen + 1)
        prober.stop(instance)
        await prober.shutdown()
        try await server.stop()
    }

    private static var threads: Int {
        // No such line would be a failure of the test.
        let status = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
        let line = status.split(separator: "\n").first { $0.hasPrefix("Threads:") }
        return line.flatMap { Int($0.filter(\.isNumber)) } ?? 0
    }

    @Test func `three hundred instances are probed every second without a thread for any`() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        var servers: [ProbeServer] = []
        for _ in 0..<300 { servers.append(try await .start(.answer(["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]))) }
        let prober = HealthProber(eventLoopGroup: group, logger: Logger(label: "test"))
        let counts = Mutex<[InstanceID: (good: Int, bad: Int)]>([:])
        // Whatever pool there is has its threads by now.
        let before = Self.threads
        for (number, server) in servers.enumerated() {
            prober.start(
                InstanceID(unchecked: "web-1-\(number)"),
                check: check(.http) {
                    $0.periodSeconds = 1
                    $0.timeoutSeconds = 20
                }, probeEndpoint: server.endpoint
            ) { instance, result in
                counts.withLock {
                    if result.isSuccess {
                        $0[instance, default: (0, 0)].good += 1
                    } else {
                        $0[instance, default: (0, 0)].bad += 1
                    }
                }
            }
        }
        var most = before
        try await wait("ten probes of each") {
            most = max(most, Self.threads)
            return counts.withLock { $0.count == 300 && $0.values.allSatisfy { $0.good >= 5 } }
        }
        await prober.shutdown()
        let all = counts.withLock { $0 }
        #expect(all.values.map(\.bad).reduce(0, +) == 0)
        for (number, server) in servers.enumerated() {
            let results = all[InstanceID(unchecked: "web-1-\(number)")]?.good ?? 0
            // One may be cut off by the end.
            #expect(
                (results...results + 1).contains(server.requests.count), "each server is asked by its own instance only"
            )
            try await server.stop()
        }
        #expect(most <= before + 3, "\(before) threads before, \(most) while 300 instances were probed")
        try await group.shutdownGracefully()
    }
}
