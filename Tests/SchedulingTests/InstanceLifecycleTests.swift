import OrchestryModel
import Scheduling
import Testing

/// Drives one lifecycle and remembers what it said.
private struct Driver {
    var lifecycle: InstanceLifecycle
    var generator = SeededGenerator(seed: 7)
    var now = Instant.zero
    var last: [InstanceLifecycle.Action] = []

    init(health: AppSpec.HealthCheck? = nil, liveness: AppSpec.HealthCheck? = nil) {
        var assignment = Self.assignment(health)
        assignment.spec.liveness = liveness
        lifecycle = InstanceLifecycle(assignment: assignment, wall: Instant.zero.wall)
    }
    /// A release step.
    init(releaseAdopting container: InstanceLifecycle.ExistingContainer?) {
        var assignment = Self.assignment(.init(kind: .none))
        assignment.instance = id("web-1-r-aaaaaa")
        lifecycle =
            container.map { InstanceLifecycle(adopting: assignment, container: $0, wall: Instant.zero.wall) }
            ?? InstanceLifecycle(assignment: assignment, wall: Instant.zero.wall)
    }
    init(adopting container: InstanceLifecycle.ExistingContainer, health: AppSpec.HealthCheck? = nil) {
        lifecycle = InstanceLifecycle(
            adopting: Self.assignment(health), container: container, wall: Instant.zero.wall)
    }
    static func assignment(_ health: AppSpec.HealthCheck?) -> Assignment {
        Assignment(
            instance: id("web-1-aaaaaa"), revision: 1, node: node("n1"), spec: makeSpec("web", health: health),
            replicas: 1)
    }

    @discardableResult
    mutating func send(_ event: InstanceLifecycle.Event, after: Double = 0) -> [InstanceLifecycle.Action] {
        now = now + .seconds(after)
        last = lifecycle.handle(event, at: now, wall: now.wall, using: &generator)
        return last
    }
    mutating func start(_ container: String = "c1", ready: Bool = true) {
        send(.tick)
        send(.imagePresent)
        send(.containerStarted(containerID: container, endpoint: endpoint))
        if ready { send(.probeSucceeded) }
    }
    mutating func crash(after: Double = 0, code: Int = 1) {
        send(.containerExited(code: code, outOfMemory: false, lastLogLines: ["boom"]), after: after)
        send(.containerRemoved)
    }
    let endpoint = Endpoint(host: "172.18.0.2", port: 80)
    var state: InstanceState { lifecycle.status.state }
    var statuses: [InstanceStatus] {
        last.compactMap { if case .statusChanged(let status) = $0 { status } else { nil } }
    }
    var kinds: [EventKind] { last.compactMap { if case .record(let kind, _, _) = $0 { kind } else { nil } } }
    var wake: Instant? { last.lazy.compactMap { if case .wake(let at) = $0 { at } else { nil } }.last }
}

@Suite struct ReleaseStepLifecycleTests {
    @Test(arguments: [0, 3])
    func `a release step is run once, and its container kept until it is told to go`(_ code: Int) {
        var driver = Driver(releaseAdopting: nil)
        driver.start(ready: false)
        #expect(driver.state == .starting && driver.lifecycle.status.message == "runs the release command")
        #expect(!driver.last.contains { if case .startProbing = $0 { true } else { false } })
        driver.send(
            .containerExited(code: code, outOfMemory: false, lastLogLines: ["one", "two"]), after: 5)
        #expect(driver.kinds == [.instanceExited])
        let status = driver.lifecycle.status
        #expect(status.hasKeptContainer && status.exitCode == code && status.message == "one\ntwo", "\(status)")
        #expect(driver.statuses == [status])
        #expect(driver.send(.tick, after: 3_600).isEmpty, "it is not started again")
        #expect(driver.send(.retryRequested).isEmpty)
        #expect(driver.send(.stopRequested(graceSeconds: 3)).contains(.removeContainer(containerID: "c1")))
        driver.send(.containerRemoved)
        #expect(driver.last.last == .finished)
        #expect(driver.state == .stopped && !driver.lifecycle.status.hasKeptContainer)
    }

    @Test func `an agent that finds it exited says how it ended, and nothing is started`() {
        var driver = Driver(
            releaseAdopting: .init(
                containerID: "c9", isRunning: false, exitCode: 4, lastLogLines: ["the table is there already"]))
        let actions = driver.send(.tick)
        #expect(!actions.contains(.startContainer) && driver.kinds.isEmpty)
        #expect(driver.lifecycle.status.hasKeptContainer && driver.lifecycle.status.exitCode == 4)
        #expect(driver.lifecycle.status.message == "the table is there already")
    }

    @Test func `a long output is cut at its beginning`() {
        var driver = Driver(releaseAdopting: nil)
        driver.start(ready: false)
        let lines = (0..<10).map { "\($0)" + String(repeating: "ö", count: 400) } + ["the end"]
        driver.send(.containerExited(code: 1, outOfMemory: false, lastLogLines: lines))
        let message = driver.lifecycle.status.message
        #expect(message.hasSuffix("the end") && message.utf8.count <= 2_010, "\(message.utf8.count) bytes")
    }
}

@Suite struct InstanceLifecycleTests {
    @Test func `a fresh instance pulls, starts, is probed and becomes ready`() {
        var driver = Driver()
        #expect(driver.state == .pending)
        #expect(driver.send(.tick).contains(.ensureImage))
        #expect(driver.state == .pulling)
        #expect(driver.send(.tick).isEmpty, "an engine action is not given twice")
        #expect(driver.send(.imagePresent).contains(.startContainer))
        #expect(driver.state == .starting)
        let started = driver.send(.containerStarted(containerID: "c1", endpoint: driver.endpoint))
        #expect(started.contains(.startProbing(driver.endpoint)))
        #expect(driver.state == .starting)
        driver.send(.probeSucceeded)
        #expect(driver.statuses.map(\.state) == [.ready])
        #expect(driver.lifecycle.status.endpoint == driver.endpoint)
        #expect(driver.lifecycle.status.restarts == 0)
        #expect(driver.send(.probeSucceeded).isEmpty, "a probe that changes nothing is not reported")
    }

    @Test func `without a health check running is ready`() {
        var driver = Driver(health: .init(kind: .none))
        driver.start(ready: false)
        #expect(driver.state == .ready)
        #expect(!driver.last.contains(.startProbing(driver.endpoint)))
    }

    @Test func `successThreshold successes in a row are needed`() {
        var driver = Driver(health: .init(kind: .tcp, successThreshold: 3))
        driver.start()
        driver.send(.probeSucceeded)
        driver.send(.probeFailed("refused"))
        driver.send(.probeSucceeded)
        driver.send(.probeSucceeded)
        #expect(driver.state == .starting)
        driver.send(.probeSucceeded)
        #expect(driver.state == .ready)
    }

    @Test func `a healthy container that is killed is restarted at once, then with doubling waits`() throws {
        var driver = Driver()
        driver.start()
        let actions = driver.send(
            .containerExited(code: 137, outOfMemory: true, lastLogLines: ["out"]), after: 30)
        #expect(driver.kinds == [.instanceExited])
        #expect(actions.contains(.removeContainer(containerID: "c1")))
        #expect(driver.state == .starting)
        let record = try #require(actions.first { if case .record = $0 { true } else { false } })
        guard case .record(_, _, let details) = record else { return }
        #expect(details["exitCode"] == 137)
        #expect(details["outOfMemory"] == true)
        #expect(details["lastLogLines"] == ["out"])
        #expect(driver.send(.containerRemoved).contains(.startContainer), "no wait")
        driver.send(.containerStarted(containerID: "c2", endpoint: driver.endpoint))
        #expect(driver.kinds == [.instanceRestarted])
        #expect(driver.lifecycle.status.restarts == 1)

        var container = 2
        for nominal in [1.0, 2, 4, 8, 16, 32, 60, 60] {
            driver.crash(after: 0.1)
            #expect(driver.state == .crashLooping)
            let wait = (try #require(driver.wake) - driver.now).inSeconds
            #expect(wait >= nominal * 0.8 && wait <= nominal, "expected about \(nominal) s, got \(wait)")
            #expect(!driver.send(.tick, after: wait * 0.99).contains(.startContainer))
            #expect(driver.send(.tick, after: wait * 0.01 + 0.000_001).contains(.startContainer))
            container += 1
            driver.send(.containerStarted(containerID: "c\(container)", endpoint: driver.endpoint))
        }
    }

    @Test(arguments: [(59.0, InstanceState.crashLooping), (60.0, .starting)])
    func `a minute of health forgives earlier crashes`(healthySeconds: Double, expected: InstanceState) {
        var driver = Driver()
        driver.start()
        driver.crash(after: 1)
        driver.send(.containerStarted(containerID: "c2", endpoint: driver.endpoint))
        driver.send(.probeSucceeded)
        driver.crash(after: healthySeconds)
        #expect(driver.state == expected)
    }

    @Test func `retry skips the back-off`() {
        var driver = Driver()
        driver.start(ready: false)
        driver.crash()
        #expect(driver.state == .crashLooping)
        #expect(driver.send(.retryRequested).contains(.startContainer))
    }

    @Test func `unhealthy at the threshold, back when it recovers`() {
        var driver = Driver()
        driver.start()
        driver.send(.probeFailed("500"))
        driver.send(.probeFailed("500"))
        #expect(driver.state == .ready)
        driver.send(.probeFailed("500"))
        #expect(driver.statuses.map(\.state) == [.unhealthy])
        #expect(driver.lifecycle.status.message.contains("500"))
        driver.send(.probeSucceeded)
        #expect(driver.state == .ready)
    }

    @Test func `what stays unhealthy is stopped and started again`() {
        var driver = Driver()
        driver.start()
        for _ in 0..<11 { driver.send(.probeFailed("500"), after: 1) }
        #expect(driver.state == .unhealthy)
        #expect(!driver.last.contains(.stopProbing))
        driver.send(.probeFailed("500"), after: 1)
        #expect(driver.last.contains(.stopProbing))
        #expect(driver.last.contains(.stopContainer(containerID: "c1", graceSeconds: 3)))
        #expect(driver.state == .unhealthy, "it was not ready before and is not now")
        driver.send(.containerExited(code: 0, outOfMemory: false, lastLogLines: []))
        #expect(driver.kinds.isEmpty, "we stopped it: that is no exit of its own")
        driver.send(.containerRemoved)
        driver.send(.containerStarted(containerID: "c2", endpoint: driver.endpoint))
        #expect(driver.kinds == [.instanceRestarted])
    }

    @Test func `failures before the initial delay do not count, and a never-ready instance is not unhealthy`() {
        var driver = Driver(health: .init(kind: .http, initialDelaySeconds: 10, failureThreshold: 2))
        driver.start(ready: false)
        for _ in 0..<5 { driver.send(.probeFailed("refused"), after: 1) }
        #expect(driver.lifecycle.status.failures == 0)
        for _ in 0..<20 { driver.send(.probeFailed("refused"), after: 1) }
        #expect(driver.state == .starting)
        #expect(driver.lifecycle.status.message.contains("refused"))
        driver.send(.probeSucceeded)
        #expect(driver.state == .ready)
    }

    @Test func `a missing image is tried again with back-off and recorded once`() {
        var driver = Driver()
        driver.send(.tick)
        driver.send(.imageFailed("not found"))
        #expect(driver.kinds == [.instanceFailed])
        #expect(driver.state == .pulling)
        #expect(driver.send(.tick, after: 1).contains(.ensureImage))
        driver.send(.imageFailed("not found"))
        #expect(driver.kinds.isEmpty)
        driver.send(.tick, after: 2)
        driver.send(.imagePresent)
        driver.send(.startFailed("no address left"))
        #expect(driver.kinds == [.instanceFailed])
        #expect(driver.state == .crashLooping)
        #expect(driver.send(.tick, after: 4).contains(.ensureImage), "the image may be what is missing")
    }

    @Test func `stopping a running instance ends with finished`() {
        var driver = Driver()
        driver.start()
        let actions = driver.send(.stopRequested(graceSeconds: 7))
        #expect(actions.contains(.stopProbing))
        #expect(actions.contains(.stopContainer(containerID: "c1", graceSeconds: 7)))
        #expect(driver.state == .draining)
        driver.send(.stopRequested(graceSeconds: 7))
        #expect(driver.statuses.count == 1, "a repeated order is answered")
        #expect(!driver.last.contains(.stopContainer(containerID: "c1", graceSeconds: 7)))
        driver.send(.containerExited(code: 0, outOfMemory: false, lastLogLines: []))
        #expect(driver.last.contains(.removeContainer(containerID: "c1")))
        driver.send(.containerRemoved)
        #expect(driver.statuses.map(\.state) == [.stopped])
        #expect(driver.last.last == .finished)
        #expect(driver.send(.tick, after: 100).isEmpty)
    }

    @Test func `stopping finishes from every phase`() {
        var pulling = Driver()
        pulling.send(.tick)
        pulling.send(.stopRequested(graceSeconds: 1))
        #expect(pulling.last.last == .finished)

        var creating = Driver()
        creating.send(.tick)
        creating.send(.imagePresent)
        creating.send(.stopRequested(graceSeconds: 1))
        #expect(creating.last.last != .finished, "a container may come out of the outstanding start")
        creating.send(.containerStarted(containerID: "c1", endpoint: nil))
        #expect(creating.last.contains(.stopContainer(containerID: "c1", graceSeconds: 1)))

        var failing = Driver()
        failing.send(.tick)
        failing.send(.imagePresent)
        failing.send(.stopRequested(graceSeconds: 1))
        failing.send(.startFailed("x"))
        #expect(failing.last.last == .finished)

        var waiting = Driver()
        waiting.start(ready: false)
        waiting.crash()
        waiting.send(.stopRequested(graceSeconds: 1))
        #expect(waiting.last.last == .finished)

        var clearing = Driver()
        clearing.start()
        clearing.send(.containerExited(code: 1, outOfMemory: false, lastLogLines: []))
        clearing.send(.stopRequested(graceSeconds: 1))
        clearing.send(.containerRemoved)
        #expect(clearing.last.last == .finished)
    }

    @Test func `a stop or removal that fails is tried again`() {
        var driver = Driver()
        driver.start()
        driver.send(.stopRequested(graceSeconds: 1))
        driver.send(.removeFailed("engine busy"))
        #expect(driver.send(.tick, after: 2).contains(.stopContainer(containerID: "c1", graceSeconds: 1)))
        driver.send(.containerExited(code: 0, outOfMemory: false, lastLogLines: []))
        driver.send(.removeFailed("engine busy"))
        #expect(!driver.last.contains(.removeContainer(containerID: "c1")))
        #expect(driver.send(.tick, after: 2).contains(.removeContainer(containerID: "c1")))
    }

    @Test func `a running container is adopted: probed, never restarted`() {
        var driver = Driver(
            adopting: .init(containerID: "c9", isRunning: true, endpoint: Endpoint(host: "10.0.0.1", port: 80)))
        driver.send(.tick)
        #expect(driver.kinds == [.instanceAdopted])
        #expect(driver.last.contains(.startProbing(Endpoint(host: "10.0.0.1", port: 80))))
        #expect(driver.state == .starting)
        for _ in 0..<50 {
            driver.send(.probeFailed("refused"), after: 1)
            #expect(!driver.last.contains(.stopContainer(containerID: "c9", graceSeconds: 3)))
        }
        #expect(driver.state == .unhealthy, "the leader must take it out of routing")
        driver.send(.probeSucceeded)
        #expect(driver.state == .ready)
        #expect(driver.lifecycle.status.containerID == "c9")
        #expect(driver.lifecycle.status.restarts == 0)
    }

    @Test func `a container found exited is an exit, and is started again at once`() {
        var driver = Driver(adopting: .init(containerID: "c9", isRunning: false, exitCode: 137, outOfMemory: true))
        driver.send(.tick)
        #expect(driver.kinds == [.instanceExited])
        #expect(driver.last.contains(.removeContainer(containerID: "c9")))
        #expect(driver.send(.containerRemoved).contains(.startContainer))
    }

    @Test func `a lost engine is given nothing, and is not held against the instance`() {
        var driver = Driver()
        driver.send(.tick)
        driver.send(.engineLost)
        driver.send(.imageFailed("connection refused"))
        #expect(driver.kinds.isEmpty)
        #expect(!driver.send(.tick, after: 100).contains(.ensureImage))
        #expect(driver.send(.engineBack).contains(.ensureImage))
        driver.send(.startFailed("stray answer"))
        #expect(driver.state == .pulling)
        // The other order: the failure is noticed before the loss.
        driver.send(.imageFailed("connection refused"))
        driver.send(.engineLost)
        #expect(driver.send(.engineBack).contains(.ensureImage), "no back-off")
    }

    @Test func `late reports of an earlier container are ignored`() {
        var driver = Driver()
        driver.start()
        driver.crash(after: 1)
        driver.send(.containerStarted(containerID: "c2", endpoint: driver.endpoint))
        driver.send(.containerExited(containerID: "c1", code: 1, outOfMemory: false, lastLogLines: []))
        #expect(driver.last.isEmpty)
        #expect(driver.lifecycle.status.containerID == "c2")
    }

    private static let liveness = AppSpec.HealthCheck(kind: .tcp, initialDelaySeconds: 10, failureThreshold: 2)

    @Test func `a failing liveness check replaces the container, ready or not`() throws {
        for ready in [true, false] {
            var driver = Driver(liveness: Self.liveness)
            driver.start(ready: ready)
            driver.send(.livenessFailed("refused"), after: 9.9)
            driver.send(.livenessFailed("refused"))
            #expect(driver.last.isEmpty, "before its initial delay")
            driver.send(.livenessFailed("refused"), after: 0.2)
            driver.send(.livenessSucceeded)
            driver.send(.livenessFailed("refused"))
            #expect(driver.last.isEmpty, "a success ends the row")
            driver.send(.livenessFailed("refused"))
            #expect(driver.state == .unhealthy)
            #expect(driver.last.contains(.stopProbing))
            #expect(driver.last.contains(.stopContainer(containerID: "c1", graceSeconds: 3)))
            driver.send(.livenessFailed("refused"))
            #expect(driver.last.isEmpty, "once is enough")
            driver.send(.containerExited(containerID: "c1", code: 137, outOfMemory: false, lastLogLines: []))
            driver.send(.containerRemoved)
            driver.send(.tick, after: 2)
            driver.send(.containerStarted(containerID: "c2", endpoint: driver.endpoint))
            #expect(driver.kinds == [.instanceRestarted])
            let message = driver.last.lazy.compactMap { action -> String? in
                if case .record(_, let message, _) = action { message } else { nil }
            }.first
            #expect(message?.contains("2 failed liveness probes in a row (refused)") == true, "\(message ?? "")")
        }
    }

    @Test func `with a liveness check, one that is not ready is left alone`() throws {
        var driver = Driver(liveness: Self.liveness)
        driver.start()
        for _ in 0..<50 { driver.send(.probeFailed("status 503"), after: 1) }
        #expect(driver.state == .unhealthy)
        #expect(!driver.last.contains(.stopProbing))
        driver.send(.probeSucceeded)
        #expect(driver.state == .ready)
        #expect(driver.lifecycle.status.restarts == 0)
    }

    @Test func `a liveness check is probed where nothing else is`() throws {
        var driver = Driver(health: .init(kind: .none), liveness: Self.liveness)
        driver.start(ready: false)
        #expect(driver.state == .ready)
        #expect(driver.last.contains(.startProbing(driver.endpoint)))
        var changed = driver.lifecycle.assignment
        changed.spec.liveness = nil
        #expect(driver.send(.assignmentUpdated(changed)).contains(.stopProbing))
        driver.send(.livenessFailed("late"), after: 100)
        driver.send(.livenessFailed("late"))
        #expect(driver.state == .ready)
    }

    @Test func `a changed health check takes effect without a restart`() {
        var driver = Driver()
        driver.start()
        var assignment = driver.lifecycle.assignment
        assignment.spec.health.failureThreshold = 1
        driver.send(.assignmentUpdated(assignment))
        #expect(driver.last.contains(.startProbing(driver.endpoint)))
        #expect(driver.statuses.count == 1, "a repeated order is answered")
        driver.send(.probeFailed("500"))
        #expect(driver.state == .unhealthy)
    }
}
