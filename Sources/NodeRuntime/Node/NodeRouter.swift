import Leadership
import Logging
import OrchestryModel
import PeerTransport
import WireProtocol

/// Takes what peers say to where it belongs. Called on the cluster's event loop: hands over and returns at once.
struct NodeRouter: PeerHandler {
    let node: Node

    func peerConnected(_ peer: NodeInfo) {
        node.logger.info("Peer connected", metadata: ["peer": "\(peer.id)", "role": "\(peer.role)"])
        node.introduced(peer)
        node.announcer.wake()
        node.announceLeadership(to: peer.id)
        node.currentTerm?.submit(.peerConnected(peer))
        // A leader that has just got to know us needs to know what runs here.
        node.pool.add { await node.sendInventory() }
    }

    func peerDisconnected(_ peer: NodeID, reason: String) {
        node.logger.warning("Peer disconnected", metadata: ["peer": "\(peer)", "reason": "\(reason)"])
        node.announcer.wake()
        node.desk.lose(peer, reason: reason)
        if case .worker(let watch) = node.standing { watch.submit(.disconnected(peer)) }
        node.currentTerm?.submit(.peerDisconnected(peer))
    }

    /// A term that is in doubt keeps its inputs for later: from so many on the peers keep theirs.
    private static let termInputs = 4096

    func backlog(of peer: NodeID) -> Int {
        let waiting = (node.currentTerm?.waitingInputs ?? 0) - Self.termInputs
        return node.load.of(peer) + min(max(0, waiting), 2048)
    }

    /// Hands over work that this peer has caused.
    private func work(_ weight: Int, for peer: NodeID, _ job: @escaping TaskPool.Job) {
        let node = node
        node.load.add(weight, for: peer)
        node.pool.add {
            await job()
            node.load.remove(weight, for: peer)
        }
    }

    func received(_ message: Message, correlation: UInt64, from peer: NodeID) {
        received(message, correlation: correlation, bytes: 0, from: peer)
    }

    func received(_ message: Message, correlation: UInt64, bytes: Int, from peer: NodeID) {
        let weight = PeerLoad.weight(bytes: bytes)
        switch message {
        case .election(let message): node.hear(message, from: peer)
        case .instanceCommand(let epoch, let command):
            work(weight, for: peer) { await node.obey(command, epoch: epoch, from: peer, correlation: correlation) }
        case .routingTable(let table):
            work(weight, for: peer) {
                guard await node.agent.admit(.routingTable, of: table.version.epoch) else { return }
                await node.applier.receive(table)
            }
        case .refused(let epoch): node.epochSeen(epoch)
        case .inventory(let inventory) where inventory.node == peer:
            node.epochSeen(inventory.highestEpoch)
            node.currentTerm?.submit(.inventory(inventory))
        case .instanceStatus(let status) where status.node == peer: node.currentTerm?.submit(.status(status))
        case .routingAck(let version): node.currentTerm?.submit(.routingAcknowledged(peer, version))
        case .sampleBatch(let samples):
            node.heard(peer)
            let own = samples.filter { $0.node == peer }
            // L8: of the survivors the one with the freshest metrics leads.
            if let newest = own.map(\.second).max() {
                node.controller?.leadership.submit(.peerFreshness(newest, of: peer))
            }
            work(weight, for: peer) { await node.keep(own) }
        case .heldRequests(let held): node.currentTerm?.submit(.held(peer, held))
        case .eventBatch(let events, let decisions):
            work(weight, for: peer) { await node.ingest(events, decisions, from: peer, correlation: correlation) }
        case .forwardRequest(let request, _):
            work(weight, for: peer) { await node.answer(request, from: peer, correlation: correlation) }
        case .logRequest(let instance, let tailLines):
            work(weight, for: peer) {
                await node.sendLogs(of: instance, tail: tailLines, to: peer, correlation: correlation)
            }
        case .execRequest(let session, let request):
            node.execRequested(request, session: session, from: peer, correlation: correlation)
        case .execData(let session, let isToRunner, let frame):
            node.execArrived(frame, session: session, isToRunner: isToRunner, from: peer)
        case .inventory, .instanceStatus:
            node.logger.warning("A peer spoke for another node; ignored", metadata: ["peer": "\(peer)"])
        case .error(let code, let text):
            node.logger.warning(
                "Peer reports an error", metadata: ["peer": "\(peer)", "code": "\(code)", "text": "\(text)"])
        case .hello, .helloChallenge, .helloAccepted, .helloProof, .ping, .pong, .renew, .commandAck, .eventAck,
            .forwardResponse,
            .logChunk:
            break  // The transport's own, or replies it has matched with their requests.
        }
    }
}
