import Autoscaling
import Leadership
import Logging
import NodeConfiguration
import OrchestryModel
import PeerTransport
import PostgresStore
import RestFacade
import Synchronization

extension ClusterView {
    static let empty = ClusterView(
        me: NodeInfo(id: NodeID(unchecked: "none"), role: .controller, host: "", clusterPort: 0, apiURL: ""),
        state: .follower, epoch: .none, leader: nil, members: [], lease: nil)
}

/// What this node says of itself and the cluster.
extension Node {
    func clusterView() async -> ClusterView {
        let view = leadership.view
        let leader = self.leader
        let heard = state.withLock { $0.lastHeard }
        let connected = Dictionary(
            transport.connectedPeers.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
        let wall = clock.wall()
        var members: [ClusterView.Member] = [
            .init(
                info: configuration.node,
                state: leader == id ? .leader : view.state == .candidate ? .candidate : .follower,
                lastHeartbeat: wall, isHealthy: true)
        ]
        let others = Set(configuration.controllers.keys).union(connected.keys).subtracting([id])
        for peer in others {
            let address = configuration.controllers[peer]
            let info =
                connected[peer]
                ?? NodeInfo(
                    id: peer, role: .controller, host: address?.host ?? "", clusterPort: address?.port ?? 0,
                    apiURL: knownAPIURL(of: peer))
            members.append(
                .init(
                    info: info, state: leader == peer ? .leader : .follower, lastHeartbeat: heard[peer],
                    isHealthy: connected[peer] != nil))
        }
        return ClusterView(
            me: configuration.node, state: leader == id ? .leader : view.state == .candidate ? .candidate : .follower,
            epoch: view.highestEpoch, leader: leader, members: members.sorted { $0.info.id < $1.info.id },
            lease: leadership.leaseRow)
    }

    /// A peer that is away introduced itself earlier: the lease may still name its address.
    private func knownAPIURL(of peer: NodeID) -> String {
        if let row = leadership.leaseRow, row.leader == peer { return row.apiURL }
        return ""
    }

    /// Keeps the shown lease fresh; nothing is decided by it.
    func watchLease() async {
        while !Task.isCancelled {
            leadership.noteLeaseRow(await lease.readRow(timeout: .seconds(1)))
            do { try await Task.sleep(for: .seconds(1)) } catch { return }
        }
    }

    /// Answers reads from PostgreSQL while nobody leads: what was stored last, marked as such. nil: not there either.
    func readFromStore(_ operation: OrchestryModel.Operation) async -> ControlResponse? {
        do {
            switch operation {
            case .listApps:
                let applications = try await store.applications()
                let ready = Dictionary(
                    grouping: try await store.instances().filter { $0.state == .ready }, by: \.app)
                return ControlResponse(
                    body: Presentation.appList(
                        applications.map {
                            Presentation.appListEntry($0, readyReplicas: ready[$0.name]?.count ?? 0)
                        }))
            case .appStatus(let name):
                guard let application = try await store.application(name) else {
                    return ControlResponse(.appNotFound(name))
                }
                let instances = try await store.instances().filter { $0.app == name }
                return ControlResponse(
                    body: Presentation.appStatus(
                        application, instances: instances, usage: [:],
                        explanation: "No leader answers: this is what was stored last."))
            case .appDocument(let name):
                guard let application = try await store.application(name) else {
                    return ControlResponse(.appNotFound(name))
                }
                return ControlResponse(body: Presentation.appDocument(application))
            case .events(let app, let limit):
                return ControlResponse(
                    body: Presentation.events(
                        try await store.events(app: app, limit: limit).map { ($0.id, $0.event) }))
            case .overview:
                let ready = Dictionary(
                    grouping: try await store.instances().filter { $0.state == .ready }, by: \.app)
                return ControlResponse(
                    body: Presentation.appList(
                        try await store.applications().map {
                            let count = ready[$0.name]?.count ?? 0
                            return Presentation.overviewRow($0, ready: count, instances: count)
                        }))
            case .appHistory(let name, let minutes):
                guard try await store.application(name) != nil else { return ControlResponse(.appNotFound(name)) }
                return try await store.history(of: name, minutes: minutes, now: clock.wall())
            default: return nil
            }
        } catch {
            logger.warning("A read found neither a leader nor PostgreSQL", metadata: ["error": "\(error)"])
            return ControlResponse(.storeUnavailable("\(error)"))
        }
    }

    // MARK: Prometheus

    /// This node's metrics in Prometheus' text format 0.0.4.
    func prometheusText() async -> String {
        var text = PrometheusText()
        let view = await clusterView()
        let node = ["node": id.rawValue]
        text.gauge("orchestry_leader", "1 on the node that leads", node, view.leader == id ? 1 : 0)
        text.gauge("orchestry_epoch", "Highest epoch seen", node, Double(view.epoch.rawValue))
        text.gauge(
            "orchestry_peers_connected", "Peers with both connections up", node, Double(transport.connectedPeers.count))
        let dropped = state.withLock { $0.droppedSamples }
        text.counter("orchestry_samples_dropped_total", "Samples that could not be kept on disk", node, Double(dropped))
        addTransport(to: &text)
        if let inventory = await agent.inventory() {
            text.gauge(
                "orchestry_engine_available", "1 when the container engine answers", node,
                inventory.engineAvailable ? 1 : 0)
            for kind in InstanceState.allCases {
                let count = inventory.instances.count { $0.state == kind }
                text.gauge(
                    "orchestry_instances", "Instances of this node by state",
                    node.merging(["state": kind.label]) { first, _ in first }, Double(count))
            }
        }
        if let term = currentTerm {
            for row in await term.appGauges() {
                let labels = ["app": row.app.rawValue]
                text.gauge("orchestry_app_replicas_wanted", "Replicas the app should have", labels, Double(row.wanted))
                text.gauge("orchestry_app_replicas_ready", "Replicas that are ready", labels, Double(row.ready))
                text.gauge(
                    "orchestry_app_requests_per_second", "Requests a second over the window", labels, row.observed.rps)
                if let p95 = row.observed.p95LatencyMilliseconds {
                    text.gauge(
                        "orchestry_app_latency_p95_seconds", "95th percentile over the window", labels, p95 / 1000)
                }
                if let cpu = row.observed.cpuPercent {
                    text.gauge("orchestry_app_cpu_percent", "Mean percent of the CPU limit", labels, cpu)
                }
                if let memory = row.observed.memoryPercent {
                    text.gauge("orchestry_app_memory_percent", "Mean percent of the memory limit", labels, memory)
                }
            }
        }
        return text.rendered
    }
}

/// Builds Prometheus text: one HELP and TYPE line per family, samples together.
struct PrometheusText {
    private var order: [String] = []
    private var families: [String: (help: String, type: String, lines: [String])] = [:]

    mutating func gauge(_ name: String, _ help: String, _ labels: [String: String], _ value: Double) {
        add(name, help, "gauge", labels, value)
    }
    mutating func counter(_ name: String, _ help: String, _ labels: [String: String], _ value: Double) {
        add(name, help, "counter", labels, value)
    }

    private mutating func add(
        _ name: String, _ help: String, _ type: String, _ labels: [String: String], _ value: Double
    ) {
        if families[name] == nil {
            order.append(name)
            families[name] = (help, type, [])
        }
        let pairs = labels.sorted { $0.key < $1.key }.map { key, value in
            let escaped = value.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"").replacing("\n", with: "\\n")
            return "\(key)=\"\(escaped)\""
        }
        families[name]?.lines.append("\(name){\(pairs.joined(separator: ","))} \(value)")
    }

    var rendered: String {
        order.compactMap { name in
            families[name].map {
                "# HELP \(name) \($0.help)\n# TYPE \(name) \($0.type)\n" + $0.lines.joined(separator: "\n")
            }
        }.joined(separator: "\n") + "\n"
    }
}
