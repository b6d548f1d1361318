import Authentication
import Autoscaling
import Leadership
import Logging
import NodeConfiguration
import OrchestryModel
import PeerTransport
import PostgresStore
import RestFacade
import Synchronization
import WireProtocol

extension ClusterView {
    static let empty = ClusterView(
        me: NodeInfo(id: NodeID(unchecked: "none"), role: .controller, host: "", clusterPort: 0, apiURL: ""),
        state: .follower, epoch: .none, leader: nil, members: [], lease: nil)
}

/// What this node says of itself and the cluster.
extension Node {
    func clusterView() async -> ClusterView {
        let (highestEpoch, isCandidate) = standingView
        let leader = self.leader
        let (heard, introduced) = state.withLock { ($0.lastHeard, $0.introduced) }
        let connected = Dictionary(
            transport.connectedPeers.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
        let wall = clock.wall()
        let ownState: ClusterView.State = leader == id ? .leader : isCandidate ? .candidate : .follower
        var members: [ClusterView.Member] = [
            .init(info: configuration.node, state: ownState, lastHeartbeat: wall, isHealthy: true)
        ]
        let others = Set(configuration.controllers.keys).union(introduced.keys).subtracting([id])
        for peer in others {
            let address = configuration.controllers[peer]
            let info =
                connected[peer] ?? introduced[peer]
                ?? NodeInfo(
                    id: peer, role: .controller, host: address?.host ?? "", clusterPort: address?.port ?? 0,
                    apiURL: knownAPIURL(of: peer))
            // Controllers send each other samples; of what else a worker's connections carry, only the transport knows, which
            // closes silent ones.
            let lastHeard = isWorker && connected[peer] != nil ? wall : heard[peer]
            members.append(
                .init(
                    info: info, state: leader == peer ? .leader : .follower, lastHeartbeat: lastHeard,
                    isHealthy: connected[peer] != nil))
        }
        return ClusterView(
            me: configuration.node, state: ownState, epoch: highestEpoch, leader: leader,
            members: members.sorted { $0.info.id < $1.info.id }, lease: controller?.leadership.leaseRow)
    }

    private var standingView: (highestEpoch: Epoch, isCandidate: Bool) {
        switch standing {
        case .controller(let parts):
            let view = parts.leadership.view
            return (view.highestEpoch, view.state == .candidate)
        case .worker(let watch): return (watch.highestEpoch, false)
        }
    }

    /// A peer that was never here: the lease may name its address.
    private func knownAPIURL(of peer: NodeID) -> String {
        if let row = controller?.leadership.leaseRow, row.leader == peer { return row.apiURL }
        return ""
    }

    /// Keeps the shown lease fresh; nothing is decided by it.
    func watchLease(_ parts: ControllerParts) async {
        while !Task.isCancelled {
            parts.leadership.noteLeaseRow(await parts.lease.readRow(timeout: .seconds(1)))
            do { try await Task.sleep(for: .seconds(1)) } catch { return }
        }
    }

    /// Answers a read while nobody is known to lead: what was stored last, marked as such. A worker asks the controllers.
    /// nil: not there either.
    func readWithoutLeader(_ request: ControlRequest) async -> ControlResponse? {
        if let store = controller?.store { return await read(request, from: store) }
        for peer in transport.connectedPeers where peer.role == .controller {
            do {
                let reply = try await transport.request(
                    .forwardRequest(request, deadlineMilliseconds: 5_000), to: peer.id, timeout: .seconds(5))
                if case .forwardResponse(let response) = reply { return response }
            } catch {
                logger.debug("A controller did not take a read", metadata: ["peer": "\(peer.id)", "error": "\(error)"])
            }
        }
        return nil
    }

    private func read(_ request: ControlRequest, from store: StateStore) async -> ControlResponse? {
        let grant = request.caller?.grant
        do {
            switch request.operation {
            case .listApps:
                let applications = try await store.applications()
                let ready = Dictionary(
                    grouping: try await store.instances().filter { $0.state == .ready }, by: \.app)
                return ControlResponse(
                    body: Presentation.appList(
                        applications.filter { grant?.covers($0.name) != false }.map {
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
                        explanation: "No leader answers: this is what was stored last.", isStale: true))
            case .appDocument(let name):
                guard let application = try await store.application(name) else {
                    return ControlResponse(.appNotFound(name))
                }
                return ControlResponse(body: Presentation.appDocument(application))
            case .events(let app, let limit):
                return ControlResponse(
                    body: Presentation.events(
                        try await store.events(app: app, among: grant?.apps, limit: limit).map { ($0.id, $0.event) }))
            case .backup:
                return try await Backups.make(from: store, cluster: configuration.cluster, at: clock.wall())
            case .listSettings: return try await RuntimeSettings.list(from: store, over: configuration)
            case .audit(let app, let after, let limit, let isRaw):
                let found = try await store.audit(app: app, after: after, limit: limit)
                return ControlResponse(body: Presentation.audit(found.entries, head: found.head, isRaw: isRaw))
            case .listTokens:
                return ControlResponse(body: Presentation.tokenList(try await store.tokens(), now: clock.wall()))
            case .overview:
                let ready = Dictionary(
                    grouping: try await store.instances().filter { $0.state == .ready }, by: \.app)
                return ControlResponse(
                    body: Presentation.appList(
                        try await store.applications().filter { grant?.covers($0.name) != false }.map {
                            let count = ready[$0.name]?.count ?? 0
                            return Presentation.overviewRow($0, ready: count, instances: count)
                        }))
            case .eventsAfter(let id, let limit): return try await store.numberedEvents(after: id, limit: limit)
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
}
