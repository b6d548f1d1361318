import DockerEngine
import Leadership
import Logging
import MetricsCache
import NodeConfiguration
import OrchestryModel
import PeerTransport
import PostgresStore
import Synchronization
import WireProtocol

/// What peers ask of this node, and what it tells them.
extension Node {
    func heard(_ peer: NodeID) {
        let wall = clock.wall()
        state.withLock { $0.lastHeard[peer] = wall }
    }

    func introduced(_ peer: NodeInfo) {
        let wall = clock.wall()
        state.withLock { state in
            state.lastHeard[peer.id] = wall
            state.introduced[peer.id] = peer
        }
    }

    // MARK: Agent

    func obey(_ command: InstanceCommand, epoch: Epoch, from peer: NodeID, correlation: UInt64) async {
        if await agent.admit(.command, of: epoch) {
            agent.submit(.command(command, epoch: epoch))
            if correlation != 0 { transport.reply(.commandAck, to: peer, correlation: correlation) }
            return
        }
        let highest = await agent.highestEpoch
        guard highest > epoch else {
            // It will come again: the leader learns from the inventory what runs here.
            logger.info("Not ready for commands: what runs here is not known yet", metadata: ["peer": "\(peer)"])
            if correlation != 0 {
                transport.reply(
                    .error(code: .unavailable, message: "the engine has not said yet what runs here"), to: peer,
                    correlation: correlation)
            }
            return
        }
        logger.warning(
            "Refused a command of an old epoch",
            metadata: ["peer": "\(peer)", "epoch": "\(epoch)", "highest": "\(highest)"])
        if peer == id {
            epochSeen(highest)
        } else if correlation != 0 {
            transport.reply(.refused(epoch: highest), to: peer, correlation: correlation)
        } else {
            transport.send(.refused(epoch: highest), to: peer)
        }
    }

    /// Called by the agent at each change of an instance.
    func report(_ status: InstanceStatus) {
        applier.localChange()
        if let term = currentTerm {
            term.submit(.status(status))
        } else if let leader, leader != id {
            transport.send(.instanceStatus(status), to: leader)
        }
    }

    /// To whoever leads, this node itself included.
    func sendInventory() async {
        guard let inventory = await agent.inventory() else { return }
        epochSeen(inventory.highestEpoch)
        if let term = currentTerm {
            term.submit(.inventory(inventory))
        } else if let leader, leader != id {
            transport.send(.inventory(inventory), to: leader)
        }
    }

    /// Each 10 s besides, in case one was lost.
    func sendInventories() async {
        while !Task.isCancelled {
            await sendInventory()
            do { try await Task.sleep(for: .seconds(10)) } catch { return }
        }
    }

    // MARK: Samples

    /// This node's samples of the last second: kept, fed to the windows, and sent to every controller.
    func deliver(_ samples: [Sample]) async {
        await reach.measured(samples)
        if let newest = samples.map(\.second).max() { controller?.leadership.submit(.freshness(newest)) }
        await keep(samples)
        for peer in transport.connectedPeers where peer.role == .controller {
            transport.send(.sampleBatch(samples), to: peer.id)
        }
    }

    func keep(_ samples: [Sample]) async {
        let seen = scaling.record(samples, at: clock.wall())
        currentTerm?.submit(.samples(samples))
        do {
            try await metrics.append(samples, seen: seen)
            let isNews = state.withLock { state in
                defer { state.samplesAreDropped = false }
                return state.samplesAreDropped
            }
            if isNews { logger.notice("Samples are kept on disk again") }
        } catch {
            let isNews = state.withLock { state in
                state.droppedSamples += UInt64(samples.count)
                defer { state.samplesAreDropped = true }
                return !state.samplesAreDropped
            }
            guard isNews else { return }
            record(
                .samplesDropped, nil,
                "\(id) can't keep samples on disk; scaling goes on from memory, which a restart forgets",
                ["error": .string("\(error)"), "folder": .string(configuration.dataDirectory)])
        }
    }

    /// Warm windows at once after a restart.
    func rebuildWindows() async throws {
        let since = clock.wall().wholeSecond - 600
        do {
            let samples = try await metrics.samples(sinceSecond: since)
            scaling.record(samples, at: clock.wall())
            logger.info("Metric windows rebuilt from the cache", metadata: ["samples": "\(samples.count)"])
        } catch {
            logger.warning("The metrics cache can't be read; windows start empty", metadata: ["error": "\(error)"])
        }
    }

    func pruneMetrics() async {
        while !Task.isCancelled {
            do {
                try await metrics.prune(nowSecond: clock.wall().wholeSecond)
            } catch {
                logger.warning("Old samples can't be removed", metadata: ["error": "\(error)"])
            }
            do { try await Task.sleep(for: .seconds(60)) } catch { return }
        }
    }

    /// Requests that wait in this node's proxy.
    func deliver(_ held: HeldRequests) {
        if let term = currentTerm {
            term.submit(.held(id, held))
        } else if let leader, leader != id, transport.supports(PeerFeatures.activation, leader) {
            transport.send(.heldRequests(held), to: leader)
        }
    }

    // MARK: Events

    /// This node's outbox, through the leader, to PostgreSQL.
    func deliverOutbox(_ events: [Event], _ decisions: [ScalingDecision]) async -> (events: Int64, decisions: Int64)? {
        if let term = currentTerm { return await term.ingest(events, decisions, from: id) }
        guard let leader, leader != id else { return nil }
        do {
            let reply = try await transport.request(
                .eventBatch(events: events, decisions: decisions), to: leader, timeout: .seconds(10))
            guard case .eventAck(let eventsUpTo, let decisionsUpTo) = reply else { return nil }
            return (eventsUpTo, decisionsUpTo)
        } catch {
            logger.debug("The leader did not take the outbox; trying again", metadata: ["error": "\(error)"])
            return nil
        }
    }

    func ingest(_ events: [Event], _ decisions: [ScalingDecision], from peer: NodeID, correlation: UInt64) async {
        guard let done = await currentTerm?.ingest(events, decisions, from: peer) else {
            transport.reply(
                .error(code: .unavailable, message: "not stored now; keep them and try again"), to: peer,
                correlation: correlation)
            return
        }
        transport.reply(
            .eventAck(eventsUpTo: done.events, decisionsUpTo: done.decisions), to: peer, correlation: correlation)
    }

    // MARK: Requests

    /// - Throws: `PeerError` when the leader can't be reached, says it does not lead, or does not answer in time;
    ///   `ForwardingError.superseded` as soon as this node knows of another leader: an old one that is frozen may hold on
    ///   to its connections for long, and the same request can go to the new one under its idempotency key.
    func forward(_ request: ControlRequest, to leader: NodeID) async throws -> ControlResponse {
        // Long enough for a slow database, short enough that a frozen leader costs one attempt and not the request.
        let patience = Duration.seconds(request.operation.isWrite ? 2 : 5)
        let transport = transport
        if request.operation.isOfStreams, transport.connectedPeers.contains(where: { $0.id == leader }),
            !transport.supports(PeerFeatures.streams, leader)
        {
            // It would not understand, and close the connection.
            throw ForwardingError.tooOld
        }
        return try await withThrowingTaskGroup(of: ControlResponse?.self) { group in
            group.addTask {
                let reply = try await transport.request(
                    .forwardRequest(request, deadlineMilliseconds: UInt64(patience.inMilliseconds)), to: leader,
                    timeout: patience)
                guard case .forwardResponse(let response) = reply else { throw ForwardingError.notLeader }
                return response
            }
            group.addTask {
                while !Task.isCancelled {
                    let seen = self.leaderChanges.count
                    if let other = self.leader, other != leader { throw ForwardingError.superseded }
                    await self.leaderChanges.wait(after: seen, atMost: patience)
                }
                return nil
            }
            defer { group.cancelAll() }
            for try await case .some(let response) in group { return response }
            throw ForwardingError.superseded
        }
    }

    enum ForwardingError: Error, CustomStringConvertible {
        case notLeader, superseded, tooOld
        var description: String {
            switch self {
            case .notLeader: "it does not lead"
            case .superseded: "another node leads"
            case .tooOld: "it runs an earlier release, which does not know this request: upgrade it"
            }
        }
    }

    /// As the leader. A worker's read is answered by any controller in the end: it has PostgreSQL, the worker has not.
    func answer(_ request: ControlRequest, from peer: NodeID, correlation: UInt64) async {
        var request = request
        if configuration.controllers[peer] == nil {
            switch await access.vouch(for: request, from: peer) {
            case .success(let known): request = known
            case .failure(let problem):
                transport.reply(.forwardResponse(ControlResponse(problem)), to: peer, correlation: correlation)
                return
            }
        }
        if case .followLog(let instance, let session, let cursor, let tail) = request.operation {
            let page = await logPage(instance, session: session, cursor: cursor, tail: tail)
            transport.reply(.forwardResponse(page), to: peer, correlation: correlation)
        } else if let response = await currentTerm?.perform(request) {
            transport.reply(.forwardResponse(response), to: peer, correlation: correlation)
        } else if !isWorker, !request.operation.isWrite,
            transport.connectedPeers.contains(where: { $0.id == peer && $0.role == .worker })
        {
            let response = await NodeControlPlane(node: self).perform(request)
            transport.reply(.forwardResponse(response), to: peer, correlation: correlation)
        } else {
            transport.reply(
                .error(code: .unavailable, message: "\(id) does not lead now"), to: peer, correlation: correlation)
        }
    }

    // MARK: Logs

    func sendLogs(of instance: InstanceID, tail: Int, to peer: NodeID, correlation: UInt64) async {
        let lines = await localLogs(of: instance, tail: tail)
        for chunk in Message.logChunks(of: lines.map(\.wireText)) {
            transport.reply(chunk, to: peer, correlation: correlation)
        }
    }

    func localLogs(of instance: InstanceID, tail: Int) async -> [InstanceLogLine] {
        do {
            guard let logs = try await agent.logs(of: instance, tail: tail) else { return [] }
            return logs.lines.map { InstanceLogLine(time: $0.time, container: logs.container, text: $0.text) }
        } catch {
            logger.warning("Logs can't be read", metadata: ["instance": "\(instance)", "error": "\(error)"])
            return []
        }
    }

    /// Log lines of an instance, wherever it runs; empty when its node does not answer.
    func fetchLogs(node: NodeID, instance: InstanceID, tail: Int) async -> [InstanceLogLine] {
        if node == id { return await localLogs(of: instance, tail: tail) }
        do {
            let reply = try await transport.request(
                .logRequest(instance: instance, tailLines: tail), to: node, timeout: .seconds(5))
            guard case .logChunk(let lines, _) = reply else { return [] }
            return lines.compactMap(InstanceLogLine.init(wireText:))
        } catch {
            logger.warning("Logs of another node can't be read", metadata: ["peer": "\(node)", "error": "\(error)"])
            return []
        }
    }
}

/// `LogChunk` lines: `<milliseconds since 1970> <container id> <text>`.
extension InstanceLogLine {
    var wireText: String { "\(time.milliseconds) \(container) \(text)" }

    init?(wireText: String) {
        let parts = wireText.split(separator: " ", maxSplits: 2, omittingEmptySubsequences: false)
        guard parts.count == 3, let milliseconds = Int64(parts[0]) else { return nil }
        self.init(time: WallTime(milliseconds: milliseconds), container: String(parts[1]), text: String(parts[2]))
    }
}
