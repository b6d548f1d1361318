import Dispatch
import NIOCore
import NIOPosix
import OrchestryModel
import PeerTransport
import Testing
import WireProtocol

@Suite struct QueueTests {
    private func frame(_ size: Int, _ mark: UInt8 = 0) -> ByteBuffer { ByteBuffer(repeating: mark, count: size) }
    private func outbound() -> Outbound {
        Outbound(bounds: .init(controlBytes: 100, bulkBytes: 200, sampleBytes: 50))
    }

    @Test func `urgent frames go first and need no room, samples last`() {
        let queue = outbound()
        #expect(queue.add(frame(1, 1), lane: .samples) == .queued(mustDrain: false, dropped: 0))
        #expect(queue.add(frame(1, 2), lane: .normal) == .queued(mustDrain: false, dropped: 0))
        #expect(queue.add(frame(1, 3), lane: .urgent) == .queued(mustDrain: false, dropped: 0))
        #expect(queue.next(isWritable: true) == nil, "before the Hello exchange is over nothing leaves")
        queue.open(.control)
        #expect(queue.add(frame(1, 4), lane: .urgent) == .queued(mustDrain: true, dropped: 0))
        #expect(queue.add(frame(1, 5), lane: .urgent) == .queued(mustDrain: false, dropped: 0), "one wake-up is enough")
        queue.beginDrain()
        #expect(queue.next(isWritable: false) == frame(1, 3))
        #expect(queue.next(isWritable: false) == frame(1, 4))
        #expect(queue.next(isWritable: false) == frame(1, 5))
        #expect(queue.next(isWritable: false) == nil)
        #expect(queue.next(isWritable: true) == frame(1, 2))
        #expect(queue.next(isWritable: true) == frame(1, 1))
        #expect(queue.next(isWritable: true) == nil)
        #expect(queue.add(frame(1, 6), lane: .normal) == .queued(mustDrain: true, dropped: 0))
    }

    @Test func `the oldest samples give way, other frames are refused`() {
        let queue = outbound()
        queue.open(.control)
        for mark in 1...5 as ClosedRange<UInt8> {
            _ = queue.add(frame(20, mark), lane: .samples)
        }
        // 50 bytes hold two of them.
        #expect(queue.add(frame(20, 6), lane: .samples) == .queued(mustDrain: false, dropped: 1))
        #expect(queue.add(frame(60), lane: .normal) == .queued(mustDrain: false, dropped: 0))
        #expect(queue.add(frame(60), lane: .normal) == .full)
        queue.beginDrain()
        #expect(queue.next(isWritable: true) == frame(60))
        #expect(queue.next(isWritable: true) == frame(20, 5))
        #expect(queue.add(frame(500), lane: .normal) == .queued(mustDrain: true, dropped: 0), "alone, any size goes")
        #expect(queue.close() == 1)
        #expect(queue.add(frame(1), lane: .urgent) == .closed)
    }

    @Test func `a peer that does not read costs samples, not memory and not heartbeats`() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 4)
        let gate = DispatchSemaphore(value: 0)
        try await Fixture.run { fixture in
            // Of its own, since the event loop of its bulk connection is going to stand still.
            let (a, b) = try await fixture.pair(group: group) {
                $0.sampleQueueBytes = 1000
                $0.bulkQueueBytes = 16 << 20
            }
            defer { gate.signal() }
            // The receiving event loop stands still, as if the process could not keep up.
            b.recorder.react { message, _, _ in
                if case .logChunk(lines: ["stop"], _) = message { gate.wait() }
            }
            #expect(a.transport.send(.logChunk(lines: ["stop"], isLast: true), to: b.id))
            // Megabytes fill the sockets' buffers, then the queue, and then `send` says no.
            let line = String(repeating: "x", count: 64 << 10)
            let chunk = Message.logChunk(lines: Array(repeating: line, count: 16), isLast: false)
            var sent = 0
            while a.transport.send(chunk, to: b.id), sent < 200 { sent += 1 }
            #expect(sent < 200)
            #expect(a.transport.statistics.messagesRefused == 1)
            let app = AppName(unchecked: "web")
            for second in 1...100 as ClosedRange<Int64> {
                #expect(a.transport.send(.sampleBatch([Sample(app: app, node: a.id, second: second)]), to: b.id))
            }
            let dropped = a.transport.statistics.sampleBatchesDropped
            #expect(dropped > 50 && dropped < 100)
            let heartbeat = Message.election(.heartbeat(epoch: Epoch(1), sentAt: 1))
            #expect(a.transport.send(heartbeat, to: b.id))
            try await eventually("a heartbeat passes by") { b.recorder.messages.contains(heartbeat) }
            gate.signal()
            // The newest came through, and nothing else was lost.
            try await eventually("the rest") { b.recorder.messages.count == Int(1 + sent + 1 + 100) - Int(dropped) }
            let seconds = b.recorder.messages.compactMap { message -> Int64? in
                if case .sampleBatch(let samples) = message { samples[0].second } else { nil }
            }
            #expect(seconds == Array((Int64(dropped) + 1)...100))
        }
        try await group.shutdownGracefully()
    }
}
