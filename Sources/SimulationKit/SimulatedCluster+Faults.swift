import Leadership
import OrchestryModel

/// What a schedule or a test may do to the cluster.
extension SimulatedCluster {
    /// Its process ends without a word.
    public mutating func crash(_ node: Int) {
        guard nodes[node].election != nil else { return }
        note { "\($0.nodes[node].id) crashes" }
        coverage.note(.crash)
        if activity(of: node).isActive { coverage.note(.crashOfLeader) }
        nodes[node].election = nil
        nodes[node].reported = nil
    }

    /// Starts it again, with nothing remembered, after `delay` nanoseconds.
    public mutating func restart(_ node: Int, after delay: Int64 = 0) {
        queue.push(.restart(node), at: now + delay)
    }

    /// Freezes its process; what arrives waits. Its clock goes on.
    public mutating func pause(_ node: Int, for duration: Int64) {
        note { "\($0.nodes[node].id) is paused for \(Double(duration) / 1e9) s" }
        nodes[node].pausedUntil = max(nodes[node].pausedUntil, now + duration)
        coverage.note(.pause)
        if case .active(_, _, let until) = activity(of: node) {
            coverage.note(.pauseOfLeader)
            if nodes[node].clock.local(at: nodes[node].pausedUntil) >= until { coverage.note(.lateWakeUp) }
        }
    }

    public mutating func leave(_ node: Int) {
        note { "\($0.nodes[node].id) is told to leave" }
        if now >= nodes[node].pausedUntil { feed(.leave, to: node) }
        checkActivity()
    }

    public mutating func stepDown(_ node: Int) {
        note { "\($0.nodes[node].id) is told to step down" }
        if now >= nodes[node].pausedUntil { feed(.stepDown, to: node) }
        checkActivity()
    }

    public mutating func setFreshness(_ value: Int64, of node: Int) {
        for other in nodes.indices where now >= nodes[other].pausedUntil {
            feed(other == node ? .freshness(value) : .peerFreshness(value, of: nodes[node].id), to: other)
        }
    }

    /// Messages from one to the other are lost from now on, or no longer.
    public mutating func setLink(from sender: Int, to receiver: Int, isCut: Bool) {
        if nodes[sender].cutTo[receiver] != isCut {
            note { "link \($0.nodes[sender].id) -> \($0.nodes[receiver].id) \(isCut ? "cut" : "mended")" }
        }
        nodes[sender].cutTo[receiver] = isCut
    }

    /// Cuts the node off from all other nodes, both ways, or mends that.
    public mutating func setIsolated(_ node: Int, _ isCut: Bool) {
        for other in nodes.indices where other != node {
            setLink(from: node, to: other, isCut: isCut)
            setLink(from: other, to: node, isCut: isCut)
        }
    }

    public mutating func setStoreLink(of node: Int, _ link: StoreLink) {
        if nodes[node].storeLink != link { note { "\($0.nodes[node].id) - postgres: \(link)" } }
        nodes[node].storeLink = link
        guard link != .stalled, !nodes[node].stalled.isEmpty else { return }
        let waiting = nodes[node].stalled
        nodes[node].stalled = []
        // What waited goes on where there is a way.
        guard link == .open || link == .deaf else { return }
        for event in waiting { queue.push(event, at: now + draw(store.delays)) }
    }

    /// Gives a clock another rate within the allowed drift; nil: PostgreSQL's.
    public mutating func changeRate(of node: Int?) {
        let rate = drawRate()
        coverage.note(.rateChanged)
        note { cluster in
            let name = node.map(cluster.name(of:))?.rawValue ?? "postgres"
            return "\(name)'s clock goes \(Double(rate) / 10_000)% fast"
        }
        if let node {
            nodes[node].clock.setRate(rate, at: now)
            // The queued tick was meant for the old rate.
            nodes[node].tickAt = nil
            scheduleTick(node)
        } else {
            storeClock.setRate(rate, at: now)
        }
    }

    /// Ends all faults: links mended, everyone up and awake, no losses, short delays.
    public mutating func heal() {
        note { _ in "all faults end" }
        network = .good
        store = .good
        storeDownUntil = min(storeDownUntil, now)
        for node in nodes.indices {
            setStoreLink(of: node, .open)
            for other in nodes.indices { setLink(from: node, to: other, isCut: false) }
            // Those that crashed already have a restart in the queue, or get one.
            restart(node)
            if nodes[node].pausedUntil > now {
                nodes[node].pausedUntil = now
                nodes[node].tickAt = nil
            }
            scheduleTick(node)
        }
    }
}
