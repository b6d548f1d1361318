import Logging
import NIOCore
import OrchestryModel
import Synchronization
import WireProtocol

/// Replacing connections without a gap, so that new certificates count (`proto-spec/framing.md`, "Renewing a
/// connection").
///
/// The successor is made while the old connection stands. At one moment on the home loop it takes the old one's place
/// and its queue; the old one says that it is over (`replaced`), and is read to its end before anything but elections is
/// taken from the successor, so that no frame is lost or overtakes another.
extension LinkTable {
    // MARK: When

    /// The certificates have changed.
    func renewAll() {
        home.preconditionInEventLoop()
        renewalRound += 1
        let timing = configuration.timing
        renewStale(round: renewalRound, until: .now() + TimeAmount(timing.renewalDeadline))
    }

    /// Connections made with earlier certificates, sorted.
    private var stale: [(peer: NodeID, channel: ChannelKind, connection: Connection)] {
        let generation = security.generation
        return links.keys.sorted().flatMap { id in
            ChannelKind.allCases.compactMap { kind in
                guard let connection = links[id]?.connections[kind], connection.generation < generation else {
                    return nil
                }
                return (id, kind, connection)
            }
        }
    }

    private func renewStale(round: Int, until deadline: NIODeadline) {
        guard !isShutDown, round == renewalRound else { return }
        let stale = stale
        guard !stale.isEmpty else { return }
        guard NIODeadline.now() < deadline else {
            for item in stale {
                logger.warning(
                    "A connection could not be renewed with the new certificates and is closed",
                    metadata: ["peer.id": "\(item.peer)", "channel": "\(item.channel)"])
                item.connection.perform(.close(.notAuthenticated, "not renewed after the certificates have changed"))
            }
            return
        }
        let spacing = TimeAmount(configuration.timing.renewalSpacing)
        for (position, item) in stale.enumerated() {
            home.scheduleTask(in: spacing * position) { self.renew(item.peer, item.channel, item.connection) }
        }
        let last = spacing * stale.count
        let next = min(deadline, .now() + last + TimeAmount(configuration.timing.renewalRetry))
        home.scheduleTask(deadline: next) { self.renewStale(round: round, until: deadline) }
    }

    private func renew(_ peer: NodeID, _ channel: ChannelKind, _ connection: Connection) {
        guard let link = links[peer], link.connections[channel] === connection else { return }
        let key = DialKey(peer: peer, channel: channel)
        if dials[key] != nil {
            dialSuccessor(key)
        } else if link.canRenew {
            var frame = ByteBuffer()
            // An empty body breaks no rule.
            guard (try? FrameEncoder.encode(.renew, into: &frame)) != nil else { return }
            _ = connection.send(frame, lane: .urgent)
        }
    }

    /// The peer we dial has new certificates.
    func renewRequested(by peer: NodeID, _ channel: ChannelKind) {
        home.preconditionInEventLoop()
        let key = DialKey(peer: peer, channel: channel)
        if dials[key] != nil { dialSuccessor(key) }
    }

    // MARK: How

    private func dialSuccessor(_ key: DialKey) {
        guard !isShutDown, let address = configuration.peers[key.peer], let link = links[key.peer], link.isAnnounced,
            link.canRenew, link.retiring[key.channel] == nil, renewing.insert(key).inserted
        else { return }
        connect(key, to: address, isRenewal: true).hop(to: home).whenFailure { error in
            self.renewalFailed(key, reason: "\(error)")
        }
    }

    /// The old connection stands; whoever wanted it renewed tries again.
    func renewalFailed(_ key: DialKey, reason: String) {
        guard renewing.remove(key) != nil else { return }
        logger.warning(
            "Renewing a connection failed: the old one is kept, and it is tried again",
            metadata: ["peer.id": "\(key.peer)", "channel": "\(key.channel)", "reason": "\(reason)"])
    }

    /// The standing connection that one of this identity may go on from.
    func predecessor(of identity: PeerIdentity) -> Connection? {
        guard let link = links[identity.node.id], link.isAnnounced, link.incarnation == identity.incarnation,
            link.retiring[identity.channel] == nil
        else { return nil }
        return link.connections[identity.channel]
    }

    func takeOver(_ successor: Connection, from old: Connection, _ identity: PeerIdentity) {
        let (id, kind) = (identity.node.id, identity.channel)
        guard var link = links[id] else { return }
        link.info = identity.node
        link.features = identity.features
        link.connections[kind] = successor
        successor.wasAdopted.store(true, ordering: .relaxed)
        link.retiring[kind] = old
        links[id] = link
        superseded.insert(ObjectIdentifier(old))
        // From here on frames go to the successor's queue, where they wait behind those of the old one.
        publish(id)
        successor.outbound.open(kind, after: old.outbound.takeAll())
        successor.perform(.drain)
        old.perform(.retire)
        home.scheduleTask(in: TimeAmount(configuration.timing.handoverLimit)) {
            guard self.links[id]?.retiring[kind] === old else { return }
            old.perform(.close(nil, "its peer did not say in time that it is over"))
        }
        if old.isDrained.load(ordering: .sequentiallyConsistent) { drained(old) }
    }

    /// The peer's last frame on this connection has been taken: its successor may hand over what it holds.
    func drained(_ old: Connection) {
        home.preconditionInEventLoop()
        guard let (id, kind) = retiringPlace(of: old) else { return }
        links[id]?.retiring[kind] = nil
        counters.all.renewals.add(1, ordering: .relaxed)
        counters.peer(id).renewals.add(1, ordering: .relaxed)
        logger.info("Connection renewed", metadata: ["peer.id": "\(id)", "channel": "\(kind)"])
        if let link = links[id], link.isAnnounced { link.connections[kind]?.perform(.release) }
    }

    /// Ended before the peer said all: what is missing is unknown, so this counts as a lost connection on both sides.
    func retiringEnded(_ old: Connection, reason: String) {
        guard let (id, kind) = retiringPlace(of: old) else { return }
        guard !old.isDrained.load(ordering: .sequentiallyConsistent) else { return drained(old) }
        links[id]?.retiring[kind] = nil
        links[id]?.connections[kind]?.perform(.close(nil, "the connection it goes on from broke off: \(reason)"))
    }

    private func retiringPlace(of connection: Connection) -> (NodeID, ChannelKind)? {
        for (id, link) in links {
            for (kind, candidate) in link.retiring where candidate === connection { return (id, kind) }
        }
        return nil
    }
}
