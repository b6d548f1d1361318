import NIOCore
import Synchronization
import WireProtocol

/// Frames that wait to be written to one connection. Any thread adds; the connection's event loop takes.
///
/// Three lanes: urgent ones go first and don't wait for room in the socket's buffer; then the others in order; then
/// sample batches, the oldest of which give way when there are too many.
package final class Outbound: Sendable {
    package enum Lane: Sendable { case urgent, normal, samples }

    package enum Outcome: Hashable, Sendable {
        /// `mustDrain`: the caller wakes the event loop, nobody else has. `dropped`: older sample batches given up.
        case queued(mustDrain: Bool, dropped: Int)
        case full
        case closed
    }

    package struct Bounds: Sendable {
        let controlBytes: Int
        let bulkBytes: Int
        let sampleBytes: Int
        /// Election messages are tiny, and a few a second.
        let urgentFrames = 1000
        package init(controlBytes: Int, bulkBytes: Int, sampleBytes: Int) {
            self.controlBytes = controlBytes
            self.bulkBytes = bulkBytes
            self.sampleBytes = sampleBytes
        }
    }

    /// Frames of a connection that has been replaced, for the one that goes on.
    package struct Waiting: Sendable {
        var urgent = CircularBuffer<ByteBuffer>()
        var normal = CircularBuffer<ByteBuffer>()
        var samples = CircularBuffer<ByteBuffer>()
    }

    private struct State: ~Copyable {
        var urgent = CircularBuffer<ByteBuffer>()
        var normal = CircularBuffer<ByteBuffer>()
        var samples = CircularBuffer<ByteBuffer>()
        var normalBytes = 0
        var sampleBytes = 0
        var normalLimit: Int
        /// False until the Hello exchange is over: frames wait.
        var isOpen = false
        var isClosed = false
        var isDrainPending = false
    }

    private let bounds: Bounds
    private let state: Mutex<State>

    package init(bounds: Bounds) {
        self.bounds = bounds
        state = Mutex(State(normalLimit: bounds.controlBytes))
    }

    package func add(_ frame: ByteBuffer, lane: Lane) -> Outcome {
        state.withLock { state in
            guard !state.isClosed else { return .closed }
            let bytes = frame.readableBytes
            var dropped = 0
            switch lane {
            case .urgent:
                guard state.urgent.count < bounds.urgentFrames else { return .full }
                state.urgent.append(frame)
            case .normal:
                // A frame larger than the bound may go when nothing else waits.
                guard state.normal.isEmpty || state.normalBytes + bytes <= state.normalLimit else { return .full }
                state.normal.append(frame)
                state.normalBytes += bytes
            case .samples:
                while state.sampleBytes + bytes > bounds.sampleBytes, let oldest = state.samples.popFirst() {
                    state.sampleBytes -= oldest.readableBytes
                    dropped += 1
                }
                state.samples.append(frame)
                state.sampleBytes += bytes
            }
            let mustDrain = state.isOpen && !state.isDrainPending
            if mustDrain { state.isDrainPending = true }
            return .queued(mustDrain: mustDrain, dropped: dropped)
        }
    }

    /// The event loop begins to take: frames added from here on wake it again.
    package func beginDrain() { state.withLock { $0.isDrainPending = false } }

    /// - Parameter isWritable: whether the socket's buffer has room; without it only urgent frames come.
    package func next(isWritable: Bool) -> ByteBuffer? {
        state.withLock { state in
            guard state.isOpen else { return nil }
            if let frame = state.urgent.popFirst() { return frame }
            guard isWritable else { return nil }
            if let frame = state.normal.popFirst() {
                state.normalBytes -= frame.readableBytes
                return frame
            }
            if let frame = state.samples.popFirst() {
                state.sampleBytes -= frame.readableBytes
                return frame
            }
            return nil
        }
    }

    /// The Hello exchange is over, and it is known what the connection is for.
    /// - Parameter waiting: frames of the connection it goes on from; they go first.
    package func open(_ channel: ChannelKind, after waiting: Waiting = Waiting()) {
        state.withLock { state in
            state.isOpen = true
            state.normalLimit = channel == .control ? bounds.controlBytes : bounds.bulkBytes
            state.urgent = CircularBuffer(waiting.urgent + state.urgent)
            state.normal = CircularBuffer(waiting.normal + state.normal)
            state.samples = CircularBuffer(waiting.samples + state.samples)
            state.normalBytes += waiting.normal.reduce(0) { $0 + $1.readableBytes }
            state.sampleBytes += waiting.samples.reduce(0) { $0 + $1.readableBytes }
        }
    }

    /// Ends it and gives back what was not written, in order.
    package func takeAll() -> Waiting {
        state.withLock { state in
            let waiting = Waiting(urgent: state.urgent, normal: state.normal, samples: state.samples)
            state.isClosed = true
            state.urgent.removeAll()
            state.normal.removeAll()
            state.samples.removeAll()
            return waiting
        }
    }

    /// Forgets what waits.
    /// - Returns: how many sample batches were among it.
    @discardableResult
    package func close() -> Int {
        state.withLock { state in
            let samples = state.samples.count
            state.isClosed = true
            state.urgent.removeAll()
            state.normal.removeAll()
            state.samples.removeAll()
            return samples
        }
    }
}
