import DockerEngine
import Foundation
import OrchestryModel
import Synchronization
import TestSupport
import Testing

@Suite(.serialized, .enabled(if: EngineFixture.isInstalled, "no Docker engine on this machine"))
struct ObservationTests {
    @Test func `logs keep streams apart, with order and times`() async throws {
        try await EngineFixture.withEngine { engine in
            let started = try await engine.start(EngineFixture.assignment(), epoch: Epoch(1))
            for number in 1...5 {
                let stream = number.isMultiple(of: 2) ? "stderr" : "stdout"
                try await EngineFixture.request("/log?text=line-\(number)&stream=\(stream)", started.endpoint)
            }
            let lines = try await EngineFixture.eventually("all lines") {
                let lines = try await engine.logs(started.id, tail: 100)
                return lines.count == 6 ? lines : nil
            }
            // The engine reads the two streams separately: between them there is no order to rely on.
            let byStream = Dictionary(grouping: lines, by: \.stream).mapValues { $0.map(\.text) }
            #expect(byStream[.stdout] == ["listening on 9010", "line-1", "line-3", "line-5"])
            #expect(byStream[.stderr] == ["line-2", "line-4"])
            let startedAt = try #require(started.startedAt)
            #expect(lines.allSatisfy { abs($0.time.seconds - startedAt.seconds) < 600 })
            for stream in [LogLine.Stream.stdout, .stderr] {
                let times = lines.filter { $0.stream == stream }.map(\.time)
                #expect(times == times.sorted())
            }
            #expect(try await engine.logs(started.id, tail: 2) == lines.suffix(2))
        }
    }

    @Test func `events tell the life of an instance`() async throws {
        try await EngineFixture.withEngine { engine in
            let stranger = EngineFixture.makeEngine(
                cluster: engine.configuration.cluster, node: NodeID(unchecked: "node-2"))
            var events = engine.events().makeAsyncIterator()
            #expect(try await events.next() == .connected)
            let theirs = try await stranger.start(
                EngineFixture.assignment("web-1-zzzzzz", node: NodeID(unchecked: "node-2")), epoch: Epoch(1))
            let started = try await engine.start(EngineFixture.assignment(), epoch: Epoch(1))
            try await stranger.remove(theirs.id)
            await stranger.shutdown()
            try await EngineFixture.request("/health", started.endpoint)
            // Not through the engine under test: what others do must show too.
            await EngineFixture.docker(["kill", "--signal", "USR1", started.id])
            try await engine.remove(started.id)
            var seen: [ContainerEvent] = []
            while seen.last?.kind != .destroy {
                guard case .container(let event) = try await events.next() else { break }
                seen.append(event)
            }
            #expect(
                seen.allSatisfy {
                    $0.containerID == started.id && $0.instance.rawValue == "web-1-aaaaaa" && $0.app.rawValue == "web"
                })
            #expect(seen.first?.kind == .start && seen.last?.kind == .destroy)
            #expect(seen.contains { if case .die = $0.kind { true } else { false } })
            #expect(seen.map(\.time) == seen.map(\.time).sorted())
        }
    }

    @Test func `following events ends with its task`() async throws {
        let engine = EngineFixture.makeEngine(cluster: ClusterID(unchecked: "test"), node: NodeID(unchecked: "node-1"))
        let connected = Mutex(false)
        let following = Task {
            for try await event in engine.events() where event == .connected { connected.withLock { $0 = true } }
        }
        _ = try await EngineFixture.eventually("a connection") { connected.withLock { $0 } ? true : nil }
        following.cancel()
        // Either end is fine; what counts is that it comes while the stream is silent.
        _ = await following.result
        try await engine.ping()
        await engine.shutdown()
    }

    @Test func `a crash is reported with its exit code`() async throws {
        try await EngineFixture.withEngine { engine in
            var events = engine.events().makeAsyncIterator()
            #expect(try await events.next() == .connected)
            let started = try await engine.start(EngineFixture.assignment(), epoch: Epoch(1))
            try await EngineFixture.request("/health", started.endpoint)
            // No answer comes; the request only has to arrive.
            let endpoint = try #require(started.endpoint)
            await EngineFixture.run(["curl", "-s", "-m", "5", "http://\(endpoint)/crash?code=7"])
            var kinds: [ContainerEvent.Kind] = []
            while kinds.last != .die(exitCode: 7), case .container(let event) = try await events.next() {
                kinds.append(event.kind)
            }
            #expect(kinds == [.start, .die(exitCode: 7)])
            let container = try await engine.inspect(started.id)
            #expect(!container.isRunning && container.exitCode == 7 && !container.outOfMemory)
            let last = try await engine.logs(started.id, tail: 1)
            #expect(last.map(\.text) == ["crashing"])

            // A subscriber that comes late gets what it missed.
            let startedAt = try #require(started.startedAt)
            var replayed: [ContainerEvent.Kind] = []
            var late = engine.events(since: startedAt).makeAsyncIterator()
            #expect(try await late.next() == .connected)
            while replayed.last != .die(exitCode: 7), case .container(let event) = try await late.next() {
                replayed.append(event.kind)
            }
            #expect(replayed.last == .die(exitCode: 7))
        }
    }

    @Test func `an instance that outgrows its memory is told apart`() async throws {
        try await EngineFixture.withEngine { engine in
            var events = engine.events().makeAsyncIterator()
            #expect(try await events.next() == .connected)
            let started = try await engine.start(
                EngineFixture.assignment { $0.resources.memoryBytes = 32 << 20 }, epoch: Epoch(1))
            try await EngineFixture.request("/health", started.endpoint)
            let endpoint = try #require(started.endpoint)
            await EngineFixture.run(["curl", "-s", "-m", "20", "http://\(endpoint)/eat?mb=64"])
            var kinds: Set<ContainerEvent.Kind> = []
            while !kinds.contains(.die(exitCode: 137)), case .container(let event) = try await events.next() {
                kinds.insert(event.kind)
            }
            #expect(kinds.isSuperset(of: [.start, .die(exitCode: 137)]))
            let container = try await engine.inspect(started.id)
            #expect(container.exitCode == 137)
            // Podman has no event for it, and with control groups of the first version it does not note the cause.
            if await !TestEngine.isPodman.value { #expect(kinds.contains(.oom) && container.outOfMemory) }
        }
    }

    @Test(arguments: ["/sys/fs/cgroup", "/nonexistent"])
    func `a busy instance's usage is measured against its limit`(root: String) async throws {
        try await EngineFixture.withEngine { engine in
            // The second root has no files, so the engine's own statistics take over.
            let reader = UsageReader(engine: engine, root: root)
            let assignment = EngineFixture.assignment()
            let started = try await engine.start(assignment, epoch: Epoch(1))
            try await EngineFixture.request("/eat?mb=32", started.endpoint)
            let first = try await EngineFixture.eventually("a first reading") {
                await reader.read([started.id])[started.id]
            }
            #expect(UsageDelta(previous: nil, current: first, limits: assignment.spec.resources).cpuPercent == nil)
            async let work: String = EngineFixture.request("/work?ms=1500", started.endpoint)
            let busy = try await EngineFixture.eventually("a busy reading") { () -> UsageDelta? in
                guard let reading = await reader.read([started.id])[started.id] else { return nil }
                let delta = UsageDelta(previous: first, current: reading, limits: assignment.spec.resources)
                return (delta.cpuPercent ?? 0) > 20 ? delta : nil
            }
            #expect((busy.cpuPercent ?? 0) < 400, "half a core of at most a few cannot be so much")
            let memory = try #require(busy.memoryPercent)
            #expect(memory > 50 && memory <= 100, "32 of 64 MiB are held")
            _ = try await work
            try await engine.remove(started.id)
            let after = try await EngineFixture.eventually("no reading") { () -> Bool? in
                await reader.read([started.id]).isEmpty ? true : nil
            }
            #expect(after)
            reader.shutdown()
        }
    }
}
