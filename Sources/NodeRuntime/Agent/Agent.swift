import DockerEngine
import HealthProbes
import Leadership
import Logging
import OrchestryModel
import Scheduling
import SecretSealing

/// Keeps this node's instances running: drives one `InstanceLifecycle` per instance, carries out its actions on the
/// container engine, and reports what it sees. Works on without a leader and without PostgreSQL.
///
/// Everything enters through `inputs`, is handled in order by `run`, and slow work goes to child tasks whose results
/// come back as inputs: a slow engine never delays a probe's verdict.
actor Agent {
    enum Input: Sendable {
        case command(InstanceCommand, epoch: Epoch)
        case lifecycle(InstanceID, InstanceLifecycle.Event)
        case engine(EngineEvent)
        case engineAvailability(Bool)
        case adopt([ManagedContainer])
    }

    struct Managed {
        var lifecycle: InstanceLifecycle
        var assignment: Assignment
        /// The epoch of the command that made it: the container's label.
        var epoch: Epoch
        /// Where its health check goes, once its container runs.
        var probeEndpoint: Endpoint?
        var livenessEndpoint: Endpoint?
        /// Found running when this node started, and neither probed nor seen to exit since: it served before, so it
        /// counts as serving until a probe says otherwise.
        var trustedFromBefore = false
        /// A container that exited before its start was reported: the engine may tell the two the other way round.
        var earlyExit: (containerID: String, code: Int)?
    }
    /// How long a restarted agent waits for the first probes of what it found before it tells the leader.
    private static let settlingTime = Duration.seconds(2)

    let node: NodeID
    let engine: DockerEngine
    let prober: HealthProber
    let secretKeys: SecretKeys?
    let images: ImageKeeper
    let clock: NodeClock
    let logger: Logger
    let onStatus: @Sendable (InstanceStatus) -> Void
    let onEvent: @Sendable (EventKind, AppName?, String, JSONValue) -> Void
    let onChange: @Sendable () -> Void

    private let inputs: AsyncStream<Input>
    private let continuation: AsyncStream<Input>.Continuation
    var instances: [InstanceID: Managed] = [:]
    /// Containers that were said to be left alone.
    var ignored: Set<String> = []
    private var gate = EpochGate()
    private var generator = SystemRandomNumberGenerator()
    private var engineAvailable = false
    /// False until the engine has told once what runs here: before that an inventory would be a lie.
    private var adopted = false
    /// True once every adopted instance was probed, or had its time: until then reports would make the leader take
    /// serving instances out of routing.
    var settled = false
    /// The engine gets so many starts at once: more only make each of them slower, and hold up stops and probes.
    let starts = AsyncLock(places: 10)
    private(set) var capacity: (millicores: Int, memoryBytes: Int64) = (0, 0)
    private let configuredCapacity: (millicores: Int?, memoryBytes: Int64?)

    init(
        node: NodeID, engine: DockerEngine, prober: HealthProber, secretKeys: SecretKeys?,
        images: ImageKeeper, clock: NodeClock,
        capacity: (millicores: Int?, memoryBytes: Int64?), logger: Logger,
        onStatus: @escaping @Sendable (InstanceStatus) -> Void,
        onEvent: @escaping @Sendable (EventKind, AppName?, String, JSONValue) -> Void,
        onChange: @escaping @Sendable () -> Void
    ) {
        self.node = node
        self.engine = engine
        self.prober = prober
        self.secretKeys = secretKeys
        self.images = images
        self.clock = clock
        self.configuredCapacity = capacity
        self.logger = logger
        self.onStatus = onStatus
        self.onEvent = onEvent
        self.onChange = onChange
        (inputs, continuation) = AsyncStream.makeStream(of: Input.self, bufferingPolicy: .unbounded)
    }

    nonisolated func submit(_ input: Input) { continuation.yield(input) }

    // MARK: What others ask

    /// Whether an order of this epoch may be obeyed (L5).
    func admit(_ order: EpochGate.Order, of epoch: Epoch) -> Bool {
        guard gate.admit(order, of: epoch) else { return false }
        // Here, so that the log has them in the order they were admitted.
        logger.debug("Order obeyed", metadata: ["order": "\(order)", "epoch": "\(epoch)"])
        return true
    }

    /// The highest epoch seen in any order or container.
    var highestEpoch: Epoch { gate.highest }

    /// nil until everything that runs here has been adopted.
    func inventory() -> Inventory? {
        guard settled else { return nil }
        return Inventory(
            node: node, highestEpoch: gate.highest, capacityMillicores: capacity.millicores,
            capacityMemoryBytes: capacity.memoryBytes, engineAvailable: engineAvailable,
            instances: instances.values.map(\.lifecycle.status).sorted { $0.instance < $1.instance })
    }

    /// Instances of this node that must not receive traffic, whatever the routing table says: the agent knows sooner.
    func notReady(of targets: [RoutingTable.Target]) -> Set<InstanceID> {
        Set(
            targets.lazy.filter { target in
                guard let managed = self.instances[target.instance] else { return false }
                let status = managed.lifecycle.status
                if managed.trustedFromBefore { return false }
                // A restarted container has another address than the table still says.
                return (status.state != .ready && status.state != .draining) || status.endpoint != target.endpoint
            }.map(\.instance))
    }

    /// What the sampler measures: instances with a container.
    func running() -> [(assignment: Assignment, containerID: String)] {
        instances.values.compactMap { managed in
            managed.lifecycle.status.containerID.map { (managed.assignment, $0) }
        }
    }

    /// An instance's container now, and whether the instance is one of this node's.
    func container(of instance: InstanceID) -> (id: String?, exists: Bool) {
        (instances[instance]?.lifecycle.status.containerID, instances[instance] != nil)
    }

    func status(of instance: InstanceID) -> InstanceStatus? { instances[instance]?.lifecycle.status }

    func logs(of instance: InstanceID, tail: Int) async throws -> (container: String, lines: [LogLine])? {
        guard let container = instances[instance]?.lifecycle.status.containerID else { return nil }
        return (container, try await engine.logs(container, tail: tail))
    }

    // MARK: The loop

    /// Runs until cancelled. Containers keep running when it ends: a restarted node adopts them.
    func run() async {
        await withDiscardingTaskGroup { group in
            group.addTask { await self.watchEngine() }
            group.addTask { await self.removeOldImages() }
            for await input in inputs {
                for job in handle(input) { group.addTask { await job() } }
                if Task.isCancelled { break }
            }
            group.cancelAll()
        }
    }

    nonisolated func stop() { continuation.finish() }

    typealias Job = @Sendable () async -> Void

    private func handle(_ input: Input) -> [Job] {
        switch input {
        case .command(let command, let epoch): return handle(command, epoch: epoch)
        case .lifecycle(let instance, let event): return feed(instance, event)
        case .engine(let event): return handle(event)
        case .engineAvailability(let available):
            guard available != engineAvailable else { return [] }
            engineAvailable = available
            onChange()
            return instances.keys.sorted().flatMap { feed($0, available ? .engineBack : .engineLost) }
        case .adopt(let containers): return adopt(containers)
        }
    }

    private func handle(_ command: InstanceCommand, epoch: Epoch) -> [Job] {
        switch command {
        case .run(let assignment):
            if instances[assignment.instance] != nil {
                instances[assignment.instance]?.assignment = assignment
                return feed(assignment.instance, .assignmentUpdated(assignment))
            }
            var lifecycle = InstanceLifecycle(assignment: assignment, wall: clock.wall())
            let actions = lifecycle.handle(.tick, at: clock.now(), wall: clock.wall(), using: &generator)
            instances[assignment.instance] = Managed(lifecycle: lifecycle, assignment: assignment, epoch: epoch)
            if settled { onStatus(lifecycle.status) }
            return jobs(for: actions, of: assignment.instance)
        case .stop(let instance, let graceSeconds):
            return feed(instance, .stopRequested(graceSeconds: graceSeconds))
        case .retry(let instance):
            return feed(instance, .retryRequested)
        }
    }

    private func handle(_ event: EngineEvent) -> [Job] {
        guard case .container(let event) = event, case .die(let exitCode) = event.kind else { return [] }
        guard instances[event.instance]?.lifecycle.status.containerID == event.containerID else {
            instances[event.instance]?.earlyExit = (event.containerID, exitCode)
            return []
        }
        return [reportExit(of: event.containerID, event.instance, code: exitCode)]
    }

    func reportExit(of container: String, _ instance: InstanceID, code: Int) -> Job {
        let engine = engine
        return { [weak self] in
            // The die event may come before the engine has noted why: its own record is the better witness.
            // Gone already: the event is all there is.
            let details = try? await engine.inspect(container)
            // Best effort, for the operator.
            let lines = (try? await engine.logs(container, tail: 10)) ?? []
            self?.submit(
                .lifecycle(
                    instance,
                    .containerExited(
                        containerID: container, code: details?.exitCode ?? code,
                        outOfMemory: details?.outOfMemory ?? false, lastLogLines: lines.map(\.text))))
        }
    }

    private func adopt(_ containers: [ManagedContainer]) -> [Job] {
        var work: [Job] = []
        gate.adopt(containers.map(\.epoch))
        let (kept, surplus) = sort(containers)
        work += surplus.map { removeDuplicate($0, of: $1) }
        for container in kept {
            guard let assignment = container.assignment else {
                ignore(container)
                continue
            }
            let existing = InstanceLifecycle.ExistingContainer(
                containerID: container.id, isRunning: container.isRunning, endpoint: container.endpoint,
                startedAt: container.startedAt, exitCode: container.exitCode, outOfMemory: container.outOfMemory)
            var lifecycle = InstanceLifecycle(
                adopting: assignment, container: existing, wall: clock.wall())
            let actions = lifecycle.handle(.tick, at: clock.now(), wall: clock.wall(), using: &generator)
            instances[container.instance] = Managed(
                lifecycle: lifecycle, assignment: assignment, epoch: container.epoch,
                probeEndpoint: container.probeEndpoint, livenessEndpoint: container.livenessEndpoint,
                trustedFromBefore: container.isRunning)
            work += jobs(for: actions, of: container.instance)
        }
        if !adopted {
            adopted = true
            logger.info("Adopted running containers", metadata: ["count": "\(containers.count)"])
            work.append { [weak self] in
                try? await Task.sleep(for: Self.settlingTime)  // Cancelled: the node stops.
                await self?.settle(force: true)
            }
        }
        settle(force: false)
        if settled { onChange() }
        return work
    }

    private func settle(force: Bool) {
        guard adopted, !settled, force || !instances.values.contains(where: \.trustedFromBefore) else { return }
        settled = true
        onChange()
    }

    private func feed(_ instance: InstanceID, _ event: InstanceLifecycle.Event) -> [Job] {
        guard var managed = instances[instance] else { return [] }
        let actions = managed.lifecycle.handle(event, at: clock.now(), wall: clock.wall(), using: &generator)
        logger.trace(
            "Instance event", metadata: ["instance": "\(instance)", "event": "\(event)", "actions": "\(actions)"])
        if managed.trustedFromBefore {
            switch event {
            case .probeSucceeded, .probeFailed, .containerExited, .stopRequested: managed.trustedFromBefore = false
            default: break
            }
        }
        instances[instance] = managed
        var work = jobs(for: actions, of: instance)
        if case .containerStarted(let container, _) = event, let early = managed.earlyExit {
            instances[instance]?.earlyExit = nil
            if early.containerID == container { work.append(reportExit(of: container, instance, code: early.code)) }
        }
        settle(force: false)
        return work
    }

    // MARK: The engine's side

    /// Adopts what runs, follows the engine's events, and notices when it goes away and comes back.
    private func watchEngine() async {
        var wait = Duration.milliseconds(200)
        while !Task.isCancelled {
            do {
                try await engine.ensureNetwork()
                let reported = try await engine.capacity()
                capacity = (
                    configuredCapacity.millicores ?? reported.millicores,
                    configuredCapacity.memoryBytes ?? reported.memoryBytes
                )
                for try await event in engine.events() {
                    if case .connected = event {
                        // From here on nothing is missed: now list what there is.
                        submit(.adopt(try await engine.managedContainers()))
                        if !engineAvailable { onEngine(available: true) }
                        try await resynchronise()
                        wait = .milliseconds(200)
                    }
                    submit(.engine(event))
                }
                logger.warning("The engine closed its event stream; connecting again")
            } catch {
                if Task.isCancelled { return }
                if engineAvailable || !adopted {
                    logger.error(
                        "The container engine does not answer; instances are not managed until it does",
                        metadata: ["error": "\(error)"])
                }
                if engineAvailable { onEngine(available: false) }
            }
            try? await Task.sleep(for: wait)  // Cancelled: the loop's condition ends it.
            wait = min(wait * 2, .seconds(5))
        }
    }

    /// Images that this node pulled and no longer needs, and networks that were in use when they should have gone, every ten
    /// minutes.
    private func removeOldImages() async {
        while !Task.isCancelled {
            do { try await Task.sleep(for: .seconds(600)) } catch { return }
            await images.removeSurplus(from: engine)
            await engine.removeUnusedNetworks()
        }
    }

    private func onEngine(available: Bool) {
        submit(.engineAvailability(available))
        guard adopted else { return }
        if available {
            onEvent(.engineRecovered, nil, "The container engine of \(node) answers again", [:])
        } else {
            onEvent(.engineLost, nil, "The container engine of \(node) does not answer", [:])
        }
    }

    /// Finds containers that died while nobody listened (an engine restart kills or keeps them; both happen).
    private func resynchronise() async throws {
        let listed = Dictionary(
            try await engine.managedContainers().map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
        for (instance, managed) in instances {
            guard let id = managed.lifecycle.status.containerID, managed.lifecycle.status.state != .stopped else {
                continue
            }
            if let container = listed[id], container.isRunning { continue }
            submit(
                .lifecycle(
                    instance,
                    .containerExited(
                        containerID: id, code: listed[id]?.exitCode ?? -1,
                        outOfMemory: listed[id]?.outOfMemory ?? false, lastLogLines: [])))
        }
    }
}
