import NIOCore
import NIOTestUtils
import OrchestryModel
import Testing
import WireProtocol

@Suite struct CodecTests {
    private func frame(_ message: Message, correlation: UInt64 = 0) throws -> ByteBuffer {
        var buffer = ByteBuffer()
        let length = try FrameEncoder.encode(message, correlation: correlation, into: &buffer)
        #expect(length == buffer.readableBytes)
        return buffer
    }

    @Test(arguments: MessageType.allCases) func `what is encoded is decoded`(_ type: MessageType) throws {
        var maker = MessageMaker(seed: UInt64(type.rawValue))
        for round in 0..<200 {
            let message = maker.message(of: type)
            // 1 is no correlation id.
            let correlation = maker.number() & ~1
            var buffer = try frame(message, correlation: correlation)
            let decoded = try #require(try FrameDecoder(limit: WireLimits.bulkFrame).next(from: &buffer))
            #expect(decoded.type == type)
            #expect(decoded.correlation == correlation)
            #expect(try Message(decoded) == message, "\(type), round \(round)")
            #expect(buffer.readableBytes == 0)
        }
    }

    @Test func `heartbeats and their acknowledgements take at most 32 bytes`() throws {
        let largest = Epoch(UInt64.max)
        for message in [
            ElectionMessage.heartbeat(epoch: largest, sentAt: .max), .heartbeatAck(epoch: largest, sentAt: .max),
        ] {
            #expect(try frame(.election(message)).readableBytes <= 32)
        }
        // A usual one: the 300th leader, up for a month.
        #expect(try frame(.election(.heartbeat(epoch: Epoch(300), sentAt: 2_592_000_000_000))).readableBytes == 14)
    }

    @Test func `a stream of frames decodes alike however it is cut`() throws {
        var maker = MessageMaker(seed: 20)
        var pairs: [(ByteBuffer, [Frame])] = []
        for type in MessageType.allCases {
            var buffer = try frame(maker.message(of: type), correlation: 2 * UInt64(type.rawValue))
            let bytes = buffer
            pairs.append((bytes, [try #require(try FrameDecoder(limit: WireLimits.bulkFrame).next(from: &buffer))]))
        }
        try ByteToMessageDecoderVerifier.verifyDecoder(inputOutputPairs: pairs) {
            FrameDecoder(limit: WireLimits.bulkFrame)
        }
    }

    @Test func `a length is judged as soon as it is there`() throws {
        for (limit, accepted) in [(WireLimits.helloFrame, UInt32(1024)), (WireLimits.controlFrame, 1 << 20)] {
            var fits = ByteBuffer(integer: accepted)
            #expect(try FrameDecoder(limit: limit).next(from: &fits) == nil)
            var tooLong = ByteBuffer(integer: accepted + 1)
            #expect(throws: WireError.frameTooLong(length: accepted + 1, limit: limit)) {
                try FrameDecoder(limit: limit).next(from: &tooLong)
            }
        }
    }

    @Test func `every prefix of a body is refused`() throws {
        var maker = MessageMaker(seed: 7)
        for type in MessageType.allCases {
            let message = maker.message(of: type)
            var buffer = try frame(message)
            let whole = try #require(try FrameDecoder(limit: WireLimits.bulkFrame).next(from: &buffer))
            for length in 0..<whole.body.readableBytes {
                var cut = whole
                cut.body = try #require(whole.body.getSlice(at: whole.body.readerIndex, length: length))
                #expect(throws: WireError.self, "\(type) cut to \(length)") { try Message(cut) }
            }
        }
    }

    /// The generator behind `spec()` sets every field; a field added to the model without a place in the layout would
    /// be lost silently. These types have their fields written out in the codec.
    @Test func `no field of a hand-written layout is forgotten`() {
        var maker = MessageMaker(seed: 1)
        let expected: [(Any, Int)] = [
            (maker.nodeInfo(), 5), (maker.routing(), 10), (maker.status(), 15), (maker.table(), 2),
            (RoutingTable.Route(app: maker.app(), routing: maker.routing(), targets: []), 5),
            (RoutingTable.Target(instance: maker.instance(), endpoint: maker.endpoint()), 3),
            (maker.sample(), 10), (InstanceSample(instance: maker.instance()), 7), (maker.event(), 7),
            (maker.decision(), 11), (maker.endpoint(), 2),
            (
                Assignment(
                    instance: maker.instance(), revision: 1, node: maker.node(), spec: maker.spec(), replicas: 1), 6
            ),
            (maker.sealed(), 4),
            (
                Inventory(
                    node: maker.node(), highestEpoch: .none, capacityMillicores: 1, capacityMemoryBytes: 1,
                    engineAvailable: true, instances: []), 6
            ),
        ]
        for (value, count) in expected {
            #expect(
                Mirror(reflecting: value).children.count == count, "\(type(of: value)) changed: see ByteBuffer+*.swift")
        }
    }

    @Test func `a message that breaks a rule is not sent`() throws {
        let rows: [(Message, WireError)] = [
            (.logRequest(instance: InstanceID(unchecked: "NO"), tailLines: 1), .badValue(field: "instance")),
            (.logRequest(instance: InstanceID(unchecked: "a"), tailLines: 100_001), .tooLong(field: "tailLines")),
            (
                .instanceCommand(epoch: Epoch(1), command: .stop(InstanceID(unchecked: "a"), graceSeconds: 601)),
                .badValue(field: "graceSeconds")
            ),
            (.eventAck(eventsUpTo: -1, decisionsUpTo: 0), .badValue(field: "eventsUpTo")),
            (
                .forwardResponse(ControlResponse(body: .string(String(repeating: "x", count: 5 << 20)))),
                .tooLong(field: "document.text")
            ),
            (
                .logChunk(lines: Array(repeating: String(repeating: "x", count: 60_000), count: 300), isLast: true),
                .frameTooLong(length: 18_000_905, limit: WireLimits.bulkFrame)
            ),
        ]
        for (message, expected) in rows {
            var buffer = ByteBuffer(string: "before")
            let error = #expect(throws: WireError.self) { try FrameEncoder.encode(message, into: &buffer) }
            #expect(error == expected)
            #expect(String(buffer: buffer) == "before")
        }
        var buffer = ByteBuffer()
        #expect(throws: WireError.badValue(field: "correlation")) {
            try FrameEncoder.encode(.ping, correlation: 1, into: &buffer)
        }
    }

    @Test func `words for people are cut at a character, not refused`() throws {
        let long = String(repeating: "€", count: 2000)  // 6,000 bytes of 4,096.
        var buffer = try frame(.error(code: .failed, message: long))
        let decoded = try Message(#require(try FrameDecoder(limit: WireLimits.bulkFrame).next(from: &buffer)))
        #expect(decoded == .error(code: .failed, message: String(repeating: "€", count: 1365)))
    }

    @Test func `log lines are split into chunks of which the last is marked`() {
        #expect(Message.logChunks(of: []) == [.logChunk(lines: [], isLast: true)])
        let lines = (0..<10).map { "line \($0)" }
        let chunks = Message.logChunks(of: lines, chunkBytes: 25)
        #expect(chunks.count > 2)
        var joined: [String] = []
        for (index, chunk) in chunks.enumerated() {
            guard case .logChunk(let part, let isLast) = chunk else { continue }
            joined += part
            #expect(isLast == (index == chunks.count - 1))
        }
        #expect(joined == lines)
    }

    @Test(
        arguments: [
            (1...1, 1...1, 1), (1...9, 1...1, 1), (2...3, 1...1, nil), (1...2, 2...3, 2), (1...3, 2...5, 3),
            (4...5, 1...3, nil),
        ] as [(ClosedRange<UInt16>, ClosedRange<UInt16>, UInt16?)])
    func `the highest common version is spoken`(
        _ peer: ClosedRange<UInt16>, _ own: ClosedRange<UInt16>, _ expected: UInt16?
    ) {
        #expect(WireVersion.highestCommon(with: peer, own: own) == expected)
    }
}
