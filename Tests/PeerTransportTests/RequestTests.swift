import NIOCore
import OrchestryModel
import PeerTransport
import Testing
import WireProtocol

@Suite struct RequestTests {
    private let instance = InstanceID(unchecked: "web-1-abcdef")
    private var stop: Message { .instanceCommand(epoch: Epoch(7), command: .stop(instance, graceSeconds: 10)) }

    @Test func `requests are answered both ways, on both channels`() async throws {
        try await Fixture.run { fixture in
            let (a, b) = try await fixture.pair()
            for node in [a, b] {
                let transport = node.transport
                node.recorder.react { message, correlation, from in
                    switch message {
                    case .instanceCommand:
                        transport.reply(.refused(epoch: Epoch(9)), to: from, correlation: correlation)
                    case .logRequest:
                        for chunk in Message.logChunks(of: ["one", "two", "three"], chunkBytes: 1) {
                            transport.reply(chunk, to: from, correlation: correlation)
                        }
                    case .forwardRequest:
                        let large = String(repeating: "x", count: 3 << 20)
                        let response = ControlResponse(status: 200, body: .string(large))
                        transport.reply(.forwardResponse(response), to: from, correlation: correlation)
                    default: transport.reply(.error(code: .notFound, message: "no"), to: from, correlation: correlation)
                    }
                }
            }
            for (from, to) in [(a, b), (b, a)] {
                let request = { (message: Message) async throws(PeerError) in
                    try await from.transport.request(message, to: to.id, timeout: .seconds(30))
                }
                #expect(try await request(stop) == .refused(epoch: Epoch(9)))
                #expect(try await request(.ping) == .pong)
                #expect(
                    try await request(.logRequest(instance: instance, tailLines: 3))
                        == .logChunk(lines: ["one", "two", "three"], isLast: true))
                await #expect(throws: PeerError.remote(.notFound, message: "no")) {
                    _ = try await request(.eventBatch(events: [], decisions: []))
                }
                // 3 MiB are no frame for control: the answer comes on bulk.
                let operation = ControlRequest(operation: .listApps, idempotencyKey: "k", actor: "test")
                let answer = try await request(.forwardRequest(operation, deadlineMilliseconds: 1000))
                guard case .forwardResponse(let response) = answer else { throw PeerError.timedOut }
                #expect(response.body.stringValue?.utf8.count == 3 << 20)
            }
            #expect(a.transport.statistics.lateReplies == 0)
        }
    }

    @Test func `many requests at once get their own answers`() async throws {
        try await Fixture.run { fixture in
            let (a, b) = try await fixture.pair()
            let answering = b.transport
            b.recorder.react { message, correlation, from in
                guard case .instanceCommand(let epoch, _) = message else { return }
                answering.reply(.refused(epoch: epoch), to: from, correlation: correlation)
            }
            let (transport, instance) = (a.transport, instance)
            try await withThrowingTaskGroup(of: Bool.self) { tasks in
                for number in 1...500 as ClosedRange<UInt64> {
                    tasks.addTask {
                        let command = Message.instanceCommand(epoch: Epoch(number), command: .retry(instance))
                        return try await transport.request(command, to: b.id, timeout: .seconds(30))
                            == .refused(epoch: Epoch(number))
                    }
                }
                for try await isRight in tasks { #expect(isRight) }
            }
        }
    }

    @Test func `a request ends without an answer in four ways`() async throws {
        try await Fixture.run { fixture in
            let (a, b) = try await fixture.pair()
            let transport = a.transport
            await #expect(throws: PeerError.timedOut) {
                _ = try await transport.request(stop, to: b.id, timeout: .milliseconds(50))
            }
            // The answer that comes too late is counted and goes nowhere.
            guard case .received(_, let correlation, _)? = b.recorder.seen.last else {
                throw PeerError.notConnected
            }
            #expect(b.transport.reply(.commandAck, to: a.id, correlation: correlation))
            try await eventually("late") { transport.statistics.lateReplies == 1 }
            await #expect(throws: PeerError.notConnected) {
                _ = try await transport.request(stop, to: NodeID(unchecked: "nobody"), timeout: .seconds(30))
            }
            let again = stop
            let cancelled = Task { try await transport.request(again, to: b.id, timeout: .seconds(60)) }
            try await eventually("arrived") { b.recorder.messages.count == 2 }
            cancelled.cancel()
            await #expect(throws: PeerError.cancelled) { _ = try await cancelled.value }
            let lost = Task { try await transport.request(again, to: b.id, timeout: .seconds(60)) }
            try await eventually("arrived") { b.recorder.messages.count == 3 }
            await b.transport.shutdown()
            await #expect(throws: PeerError.disconnected) { _ = try await lost.value }
        }
    }

    @Test func `a message that breaks a rule is not sent and harms nothing`() async throws {
        try await Fixture.run { fixture in
            let (a, b) = try await fixture.pair()
            let bad = Message.instanceCommand(epoch: Epoch(1), command: .stop(instance, graceSeconds: -1))
            #expect(!a.transport.send(bad, to: b.id))
            #expect(a.log.contain("Message not sent"))
            await #expect(throws: PeerError.notEncodable(.badValue(field: "graceSeconds"))) {
                _ = try await a.transport.request(bad, to: b.id, timeout: .seconds(30))
            }
            #expect(a.transport.send(stop, to: b.id))
            try await eventually("heard") { b.recorder.messages == [stop] }
        }
    }
}
