import DockerEngine
import Logging
import OrchestryModel
import ProxyConfig
import ProxyControl

/// Once a second: reads the proxy's counters and the instances' usage, and turns the differences into samples.
actor Sampler {
    private let node: NodeID
    private let agent: Agent
    private let proxy: NginxController?
    private let usage: UsageReader
    private let clock: NodeClock
    private let logger: Logger
    private let deliver: @Sendable ([Sample]) async -> Void

    private var previousCounters: (counters: ProxyCounters, at: Instant)?
    private var previousUsage: [String: UsageReading] = [:]
    private var routedApps: [AppName] = []
    private var proxyFailing = false

    init(
        node: NodeID, agent: Agent, proxy: NginxController?, usage: UsageReader, clock: NodeClock, logger: Logger,
        deliver: @escaping @Sendable ([Sample]) async -> Void
    ) {
        self.node = node
        self.agent = agent
        self.proxy = proxy
        self.usage = usage
        self.clock = clock
        self.logger = logger
        self.deliver = deliver
    }

    /// Apps that get a sample each second even when nothing happens: "no traffic" is a measurement.
    func route(_ apps: [AppName]) { routedApps = apps }

    /// Runs until cancelled, a little after each full second of the wall clock.
    func run() async {
        while !Task.isCancelled {
            let wall = clock.wall()
            let next = (wall.wholeSecond + 1) * 1000 + 20
            do { try await Task.sleep(for: .milliseconds(next - wall.milliseconds)) } catch { return }
            let samples = await sample(second: clock.wall().wholeSecond - 1)
            if !samples.isEmpty { await deliver(samples) }
        }
    }

    private func sample(second: Int64) async -> [Sample] {
        // Requests not seen are not requests that weren't made: no sample is a gap, which never shrinks an app.
        guard var samples = await proxySamples(second: second) else { return [] }
        let running = await agent.running()
        let readings = await usage.read(running.map(\.containerID))
        for (assignment, container) in running {
            guard let reading = readings[container] else { continue }
            let delta = UsageDelta(
                previous: previousUsage[container], current: reading, limits: assignment.spec.resources)
            merge(
                InstanceSample(
                    instance: assignment.instance, cpuPercent: delta.cpuPercent, memoryPercent: delta.memoryPercent),
                into: &samples[assignment.app, default: Sample(app: assignment.app, node: node, second: second)])
        }
        previousUsage = readings
        for app in routedApps where samples[app] == nil {
            samples[app] = Sample(app: app, node: node, second: second)
        }
        return samples.values.sorted { $0.app < $1.app }
    }

    private func merge(_ measured: InstanceSample, into sample: inout Sample) {
        if let index = sample.instances.firstIndex(where: { $0.instance == measured.instance }) {
            sample.instances[index].cpuPercent = measured.cpuPercent
            sample.instances[index].memoryPercent = measured.memoryPercent
        } else {
            sample.instances.append(measured)
        }
    }

    /// - Returns: nil when requests could not be counted; empty where this node counts none at all.
    private func proxySamples(second: Int64) async -> [AppName: Sample]? {
        guard let proxy else { return [:] }
        do {
            let counters = try await proxy.readCounters()
            let now = clock.now()
            defer { previousCounters = (counters, now) }
            if proxyFailing {
                proxyFailing = false
                logger.info("The proxy's counters are readable again")
            }
            guard let previous = previousCounters else { return nil }
            let interval = (now - previous.at).inSeconds
            let samples = CounterDelta.samples(
                from: previous.counters, to: counters, interval: interval, node: node, second: second)
            return Dictionary(samples.map { ($0.app, $0) }, uniquingKeysWith: { first, _ in first })
        } catch {
            if !proxyFailing {
                proxyFailing = true
                logger.warning(
                    "The proxy's counters can't be read: scaling holds", metadata: ["error": "\(error)"])
            }
            return error.code == .unsupported ? [:] : nil
        }
    }
}
