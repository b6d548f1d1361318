import NIOCore
import OrchestryModel
import PeerTransport
import RestFacade
import WireProtocol

/// The client's end of a command: finds the instance and its node, and begins a session there.
extension NodeControlPlane {
    /// For the engine to begin a command.
    private static let beginLimit = Duration.seconds(15)

    func exec(
        _ command: ExecCommand, in instance: InstanceID?, of app: AppName, caller: Caller
    ) async throws(Problem) -> any ExecSession {
        try mayStream()
        let (chosen, holder) = try await findInstance(instance, of: app, caller)
        let request = ControlRequest(
            operation: .exec(app, chosen, command),
            // Ties the two entries of the audit trail together.
            idempotencyKey: "exec-\(UInt64.random(in: .min ... .max))", caller: caller)
        let link = holder == node.id ? try await beginHere(request) : try await begin(request, on: holder)
        return ClientExec(link: link, holder: holder)
    }

    private func findInstance(
        _ wanted: InstanceID?, of app: AppName, _ caller: Caller
    ) async throws(Problem) -> (InstanceID, NodeID) {
        // In the caller's name: the leader knows best whether the token still holds.
        let answer = await perform(
            ControlRequest(operation: .appStatus(app), idempotencyKey: "exec", caller: caller))
        guard answer.status == 200 else { throw Problem(refusal: answer) }
        let rows = (answer.body["instances"]?.arrayValue ?? []).compactMap { row -> (InstanceID, NodeID, String)? in
            guard let instance = row["instance"]?.stringValue.flatMap({ InstanceID(rawValue: $0) }),
                let node = row["node"]?.stringValue.flatMap({ NodeID(rawValue: $0) })
            else { return nil }
            return (instance, node, row["state"]?.stringValue ?? "")
        }
        if let wanted {
            guard let row = rows.first(where: { $0.0 == wanted }) else { throw .instanceNotFound(wanted, of: app) }
            return (row.0, row.1)
        }
        let ready = rows.filter { $0.2 == "ready" }
        guard let row = ready.first(where: { $0.1 == node.id }) ?? ready.first else {
            throw Problem(
                status: 409, code: "no-instance", title: "No instance is ready",
                detail:
                    "App \(app) has no ready instance. `orchestry status \(app)` shows why; --instance ID takes one that "
                    + "is not ready.", retryAfterSeconds: 1)
        }
        return (row.0, row.1)
    }

    private func beginHere(_ request: ControlRequest) async throws(Problem) -> ExecLink {
        let (link, running) = ExecLink.joined()
        let key = ExecDesk.Key(peer: node.id, session: node.desk.makeNumber(), isRunner: true)
        guard node.desk.add(running, key) else { throw .execUnavailable("\(node.id) stops. Ask another node.") }
        let (answers, answer) = AsyncStream.makeStream(of: ControlResponse.self)
        let node = node
        node.pool.add {
            await node.runExec(request, running) { answer.yield($0) }
            answer.finish()
        }
        // The node stops: it may never run.
        running.whenOver { _ in answer.finish() }
        for await response in answers {
            if response.status == 200 { return link }
            throw Problem(refusal: response)
        }
        link.end("the client has gone")
        throw .execUnavailable("\(node.id) stops, or the client has gone.")
    }

    private func begin(_ request: ControlRequest, on holder: NodeID) async throws(Problem) -> ExecLink {
        guard node.transport.supports(PeerFeatures.streams, holder) else { throw node.objectionToStreams(of: holder) }
        let (link, session, transport) = (ExecLink(.asking), node.desk.makeNumber(), node.transport)
        link.connect { transport.send(.execData(session: session, isToRunner: true, frame: $0), to: holder) }
        guard node.desk.add(link, ExecDesk.Key(peer: holder, session: session, isRunner: false)) else {
            throw .execUnavailable("\(node.id) stops. Ask another node.")
        }
        let reply: Message
        do throws(PeerError) {
            reply = try await transport.request(
                .execRequest(session: session, request: request), to: holder, timeout: Self.beginLimit)
        } catch {
            link.end("it could not be begun")
            throw .execUnavailable("\(holder), which has the instance, can't be asked: \(error).")
        }
        guard case .forwardResponse(let response) = reply else {
            link.end("a reply of the wrong kind")
            throw .execUnavailable("\(holder), which has the instance, answered with \(reply.type).")
        }
        guard response.status == 200 else {
            link.end("it was refused")
            throw Problem(refusal: response)
        }
        return link
    }
}

extension Node {
    /// Why another node can't be asked for what streams need: it is away, or of an earlier release.
    func objectionToStreams(of peer: NodeID) -> Problem {
        guard transport.connectedPeers.contains(where: { $0.id == peer }) else {
            return Problem(
                status: 503, code: "node-away", title: "The instance's node is away",
                detail:
                    "\(id) is not connected with \(peer). `orchestry node list` shows who is there; ask a controller if "
                    + "\(id) is a worker.", retryAfterSeconds: 2)
        }
        return Problem(
            status: 503, code: "node-too-old", title: "The node runs an earlier release",
            detail:
                "\(peer) runs a release without commands in instances and followed logs (\(id) runs \(Self.version)): "
                + "upgrade \(peer).", retryAfterSeconds: 60)
    }
}

extension Problem {
    /// As another node or the leader put it.
    init(refusal response: ControlResponse) {
        let body = response.body
        let type = body["type"]?.stringValue ?? ""
        self.init(
            status: response.status, code: String(type.split(separator: ":").last ?? "refused"),
            title: body["title"]?.stringValue ?? "Refused", detail: body["detail"]?.stringValue ?? "",
            violations: (body["violations"]?.arrayValue ?? []).map {
                Violation($0["field"]?.stringValue ?? "", $0["rule"]?.stringValue ?? "")
            }, retryAfterSeconds: response.retryAfterSeconds)
    }
}

/// What the facade sees of a session.
private struct ClientExec: ExecSession {
    let link: ExecLink
    let holder: NodeID

    func next() async -> ExecOutput {
        switch await link.next() {
        case .output(let bytes): return .output(bytes)
        case .errors(let bytes): return .errors(bytes)
        case .input, .endOfInput, .resize, .exited, .credit, .ended, nil: break
        }
        switch link.outcome {
        case .exited(let status): return .exited(status)
        case .endedThere(let reason), .endedHere(let reason): return .failed(reason)
        case .lost(let reason):
            return .failed("the connection with \(holder), which has the instance, is lost: \(reason)")
        case .brokenRule(let rule): return .failed("\(holder) broke the protocol: \(rule)")
        case nil: return .failed("cancelled")
        }
    }

    func send(_ input: ExecInput) async -> Bool {
        switch input {
        case .bytes(var bytes):
            while let piece = bytes.readSlice(length: min(ExecFrame.mostBytes, bytes.readableBytes)),
                piece.readableBytes > 0
            {
                guard await link.send(.input(piece)) else { return false }
            }
            return link.outcome == nil
        case .end: return await link.send(.endOfInput)
        case .resize(let size): return await link.send(.resize(size))
        }
    }

    func end(_ reason: String) { link.end(reason) }
}
