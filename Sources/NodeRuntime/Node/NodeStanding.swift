import Leadership
import Logging
import NIOCore
import NodeConfiguration
import OrchestryModel
import PeerTransport
import PostgresStore
import WireProtocol

/// What a node is made of according to its role.
enum NodeStanding: Sendable {
    /// Votes, may lead, and has PostgreSQL.
    case controller(ControllerParts)
    /// Is told who leads, and asks there for everything.
    case worker(LeaderWatch)
}

struct ControllerParts: Sendable {
    var leadership: LeadershipService
    var lease: LeaseConnection
    var store: StateStore
}

extension Node {
    /// An active leader lets its workers hear of it this often: `LeaderTracker` waits for three.
    private static let announcementInterval = Duration.seconds(1)

    /// nil on a worker.
    var controller: ControllerParts? {
        if case .controller(let parts) = standing { parts } else { nil }
    }

    var isWorker: Bool { controller == nil }

    func startFollowing() {
        if case .controller(let parts) = standing { parts.leadership.start() }
    }

    func stopFollowing() {
        switch standing {
        case .controller(let parts):
            parts.leadership.stop()
            parts.lease.shutdown()
            parts.store.shutdown()
        case .worker(let watch): watch.stop()
        }
    }

    /// L5: an agent has seen this epoch.
    func epochSeen(_ epoch: Epoch) {
        switch standing {
        case .controller(let parts): parts.leadership.submit(.epochSeen(epoch))
        case .worker(let watch): watch.submit(.epochSeen(epoch))
        }
    }

    /// What a peer says about leadership. A worker hears heartbeats of the cluster's controllers and nothing else, and never
    /// answers: it has no promise to give and no vote. A controller's election looks at voters' messages only.
    func hear(_ message: ElectionMessage, from peer: NodeID) {
        switch standing {
        case .controller(let parts): parts.leadership.submit(.received(message, from: peer))
        case .worker(let watch):
            guard case .heartbeat(let epoch, _) = message, configuration.controllers[peer] != nil else { return }
            heard(peer)
            watch.submit(.heartbeat(epoch, from: peer))
        }
    }

    // MARK: What workers are told

    /// Tells workers who leads, if this node does: one that has just connected, or all of them.
    func announceLeadership(to node: NodeID? = nil) {
        guard let term = currentTerm, controller?.leadership.isActive(term.epoch) == true else { return }
        let stamp = UInt64(max(0, clock.now().nanoseconds) / 1_000)
        for peer in transport.connectedPeers where peer.role == .worker && (node == nil || peer.id == node) {
            transport.send(.election(.heartbeat(epoch: term.epoch, sentAt: stamp)), to: peer.id)
        }
    }

    /// Until cancelled.
    func announceEachSecond() async {
        while !Task.isCancelled {
            announceLeadership()
            do { try await Task.sleep(for: Self.announcementInterval) } catch { return }
        }
    }

    // MARK: Making

    static func makeController(
        _ configuration: NodeConfiguration, settings: LeadershipSettings, clock: NodeClock, pool: TaskPool,
        transport: PeerTransport, eventLoop: any EventLoop, _ reference: NodeReference, logger: Logger
    ) -> ControllerParts {
        let store = storeConfiguration(configuration)
        var leaseStore = store
        leaseStore.connectionString = configuration.leaseConnection
        let lease = LeaseConnection(
            configuration: leaseStore, me: configuration.node.id, hostname: configuration.node.host,
            apiURL: configuration.node.apiURL, leaseTTL: configuration.leaseTTL, logger: logger)
        let leadership = LeadershipService(
            election: Election(
                me: configuration.node.id, voters: configuration.controllers.keys.sorted(), settings: settings,
                now: clock.now(), seed: UInt64.random(in: .min ... .max)),
            eventLoop: eventLoop, clock: clock, leaseTimeout: configuration.renewInterval, pool: pool, logger: logger,
            send: { message, node in transport.send(.election(message), to: node) },
            performLease: { request, timeout in await lease.perform(request, timeout: timeout) },
            onChange: { reference.node?.leadershipChanged($0) })
        return ControllerParts(
            leadership: leadership, lease: lease, store: StateStore(configuration: store, logger: logger))
    }

    static func makeWatch(
        clock: NodeClock, transport: PeerTransport, eventLoop: any EventLoop, _ reference: NodeReference,
        logger: Logger
    ) -> LeaderWatch {
        LeaderWatch(
            eventLoop: eventLoop, clock: clock, logger: logger,
            refuse: { node, highest in transport.send(.refused(epoch: highest), to: node) },
            onChange: { reference.node?.leadershipChanged($0) })
    }
}
