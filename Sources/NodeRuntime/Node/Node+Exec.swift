import AccessControl
import DockerEngine
import Logging
import NIOCore
import NodeConfiguration
import OrchestryModel
import PeerTransport
import RestFacade
import Synchronization
import WireProtocol

/// Commands in this node's instances, for clients of any node.
extension Node {
    /// An ExecRequest of another node. Called on the event loop, so that the session is known before anything else of it comes.
    func execRequested(_ request: ControlRequest, session: UInt64, from peer: NodeID, correlation: UInt64) {
        let link = ExecLink(.running)
        let transport = transport
        link.connect { transport.send(.execData(session: session, isToRunner: false, frame: $0), to: peer) }
        let answer: @Sendable (ControlResponse) -> Void = {
            transport.reply(.forwardResponse($0), to: peer, correlation: correlation)
        }
        guard desk.add(link, ExecDesk.Key(peer: peer, session: session, isRunner: true)) else {
            return answer(ControlResponse(.execUnavailable("\(id) has a session of that number, or stops.")))
        }
        pool.add {
            var request = request
            if self.configuration.controllers[peer] == nil {
                switch await self.access.vouch(for: request, from: peer) {
                case .success(let known): request = known
                case .failure(let problem):
                    answer(ControlResponse(problem))
                    return link.end(problem.detail)
                }
            }
            await self.runExec(request, link, begun: answer)
        }
    }

    func execArrived(_ frame: ExecFrame, session: UInt64, isToRunner: Bool, from peer: NodeID) {
        guard !desk.receive(frame, ExecDesk.Key(peer: peer, session: session, isRunner: isToRunner)) else { return }
        switch frame {
        case .credit, .exited, .ended: break  // Crossed with the end of the session.
        case .input, .endOfInput, .resize, .output, .errors:
            let answer = ExecFrame.ended(reason: "\(id) knows no such session")
            transport.send(.execData(session: session, isToRunner: !isToRunner, frame: answer), to: peer)
        }
    }

    /// Runs the command, from the checks to its end.
    /// - Parameter begun: called once: with 200 when the command has been begun, else with why not.
    func runExec(_ request: ControlRequest, _ link: ExecLink, begun: @escaping @Sendable (ControlResponse) -> Void)
        async
    {
        let answered = Atomic<Bool>(false)
        let answer: @Sendable (ControlResponse) -> Void = { response in
            if !answered.exchange(true, ordering: .relaxed) { begun(response) }
        }
        guard desk.takePlace() else {
            answer(
                ControlResponse(.execUnavailable("\(ExecDesk.mostRunning) commands run on \(id) already, or it stops."))
            )
            return link.end("too many commands")
        }
        defer { desk.giveBackPlace() }
        do throws(Problem) {
            let (command, container) = try await admitExec(request)
            let started = clock.now()
            try await noteExecStart(request)
            var ending = "no status"
            do {
                let status = try await attach(command, container, link) { answer(ControlResponse(body: [:])) }
                ending = "status \(status)"
                _ = await link.send(.exited(status: status))
            } catch {
                let reason = Self.words(for: error, link)
                ending = reason
                answer(ControlResponse(Self.problem(for: error, reason)))
                link.end(reason)
            }
            noteExecEnd(request, ending, seconds: (clock.now() - started).inSeconds)
        } catch {
            answer(ControlResponse(error))
            link.end(error.detail)
        }
    }

    /// - Returns: the command, and the container to run it in.
    private func admitExec(_ request: ControlRequest) async throws(Problem) -> (ExecCommand, String) {
        guard case .exec(let app, let instance, let command) = request.operation else {
            throw Problem(
                status: 400, code: "bad-request", title: "Bad Request", detail: "An ExecRequest asks for 'exec' only.")
        }
        if let problem = request.caller?.objection(to: request.operation) { throw problem }
        guard command.violations.isEmpty else { throw .invalid(ValidationError(command.violations)) }
        guard let status = await agent.status(of: instance), status.app == app else {
            throw .instanceNotFound(instance, of: app)
        }
        guard let container = status.containerID else {
            throw Problem(
                status: 409, code: "not-running", title: "The instance does not run",
                detail: "Instance \(instance) is \(status.state) and has no container to run a command in.",
                retryAfterSeconds: 1)
        }
        return (command, container)
    }

    /// - Parameter begun: called when the engine has begun it.
    private func attach(
        _ command: ExecCommand, _ container: String, _ link: ExecLink, begun: @Sendable () -> Void
    ) async throws -> Int {
        try await engine.attach(command, to: container) { writing, handle in
            begun()
            // Whatever the tasks below wait for: when the client has gone, the command loses its standard input.
            link.whenOver { _ in handle.abandon() }
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { await self.feed(handle, from: link, size: command.terminal) }
                defer { group.cancelAll() }
                while let (stream, bytes) = try await writing.next() {
                    for piece in bytes.pieces(of: ExecFrame.mostBytes) {
                        guard await link.send(stream == .errors ? .errors(piece) : .output(piece)) else { return }
                    }
                }
            }
            if let outcome = link.outcome { throw ExecOver(outcome: outcome) }
        }
    }

    /// What the client sends, until the session is over.
    private func feed(_ handle: CommandHandle, from link: ExecLink, size: ExecCommand.Size?) async {
        func resize(_ size: ExecCommand.Size) async {
            do throws(EngineError) {
                try await handle.resize(size)
            } catch {
                logger.debug("A terminal can't be resized", metadata: ["error": "\(error)"])
            }
        }
        if let size { await resize(size) }
        while let frame = await link.next() {
            switch frame {
            case .input(let bytes):
                do throws(EngineError) {
                    try await handle.write(bytes)
                } catch {
                    // The command reads no more; what comes is taken and dropped, as with a closed pipe.
                    logger.debug("A command takes no more input", metadata: ["error": "\(error)"])
                }
            case .endOfInput: handle.endInput()
            case .resize(let size): await resize(size)
            case .output, .errors, .exited, .credit, .ended: break  // The flow lets none of these through.
            }
        }
    }

    private struct ExecOver: Error { var outcome: ExecFlow.Outcome }

    private static func words(for error: any Error, _ link: ExecLink) -> String {
        switch (error as? ExecOver)?.outcome ?? link.outcome {
        case .endedThere(let reason), .endedHere(let reason), .lost(let reason): return reason
        case .brokenRule(let rule): return "the other node broke the protocol: \(rule)"
        case .exited, nil: break
        }
        if error is CancellationError || (error as? EngineError)?.code == .cancelled {
            return "the instance's node stops"
        }
        return (error as? EngineError)?.description ?? "\(error)"
    }

    private static func problem(for error: any Error, _ reason: String) -> Problem {
        switch (error as? EngineError)?.code {
        case .notFound:
            Problem(
                status: 404, code: "instance-not-found", title: "No such instance", detail: "Its container is gone.")
        case .conflict:
            Problem(
                status: 409, code: "not-running", title: "The instance does not run", detail: "No: \(reason).",
                retryAfterSeconds: 1)
        case .invalid:
            Problem(
                status: 422, code: "not-executable", title: "The engine refuses the command", detail: "No: \(reason).")
        default: .execUnavailable("The command could not be begun: \(reason).")
        }
    }

    // MARK: The audit trail

    /// Durable before the command runs. Events can be read by whoever may read the app, so they don't say the command.
    private func noteExecStart(_ request: ControlRequest) async throws(Problem) {
        guard case .exec(let app, let instance, _) = request.operation else { return }
        let record = AuditRecord(request, time: clock.wall(), node: id)
        let event = Event(
            node: id, time: clock.wall(), app: app, kind: .execStarted,
            message: "\(request.actor) runs a command in \(instance)",
            details: [
                "actor": .string(request.actor), "instance": .string(instance.rawValue), "audit": record.json,
            ])
        do {
            try await recorder.keep(event)
        } catch {
            logger.error("A command can't be recorded, so it is not run", metadata: ["error": "\(error)"])
            throw .execUnavailable("\(id) can't record that the command was run: \(error). Make room on its disk.")
        }
        logger.info(
            "Command begun", metadata: ["app": "\(app)", "instance": "\(instance)", "actor": "\(request.actor)"])
    }

    private func noteExecEnd(_ request: ControlRequest, _ ending: String, seconds: Double) {
        guard case .exec(let app, let instance, _) = request.operation else { return }
        var entry = AuditRecord(request, time: clock.wall(), node: id)
        entry.operation = "execEnd"
        entry.arguments = [
            "instance": .string(instance.rawValue), "ending": .string(String(ending.prefix(300))),
            "milliseconds": .int(Int64(seconds * 1_000)),
        ]
        record(
            .execEnded, app, "The command of \(request.actor) in \(instance) ended: \(ending.prefix(300))",
            ["actor": .string(request.actor), "instance": .string(instance.rawValue), "audit": entry.json])
    }
}

extension ByteBuffer {
    fileprivate func pieces(of size: Int) -> [ByteBuffer] {
        guard readableBytes > size else { return readableBytes > 0 ? [self] : [] }
        var (rest, pieces) = (self, [ByteBuffer]())
        while let piece = rest.readSlice(length: min(size, rest.readableBytes)), piece.readableBytes > 0 {
            pieces.append(piece)
        }
        return pieces
    }
}

extension Problem {
    static func execUnavailable(_ detail: String) -> Problem {
        Problem(
            status: 503, code: "exec-unavailable", title: "The command can't be run now", detail: detail,
            retryAfterSeconds: 1)
    }
}
