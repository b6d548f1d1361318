import NIOCore
import OrchestryModel
import RestFacade
import Synchronization

/// Commands that write what they read, say each new size on standard error, and end with status 7 when their input does.
final class EchoedCommands: Sendable {
    private let begun = Mutex<[ExecCommand]>([])
    private let endings = Mutex<[String]>([])

    /// What was asked for, in order.
    var commands: [ExecCommand] { begun.withLock { $0 } }
    /// Why sessions were ended before their commands were.
    var reasons: [String] { endings.withLock { $0 } }

    func begin(_ command: ExecCommand) -> any ExecSession {
        begun.withLock { $0.append(command) }
        return Session(end: { [self] reason in endings.withLock { $0.append(reason) } })
    }

    private final class Session: ExecSession {
        private let written: AsyncStream<ExecOutput>
        private let writer: AsyncStream<ExecOutput>.Continuation
        private let isOver = Atomic(false)
        private let ended: @Sendable (String) -> Void

        init(end: @escaping @Sendable (String) -> Void) {
            (written, writer) = AsyncStream.makeStream(of: ExecOutput.self)
            ended = end
        }

        func next() async -> ExecOutput {
            var iterator = written.makeAsyncIterator()
            return await iterator.next() ?? .failed("over")
        }

        func send(_ input: ExecInput) async -> Bool {
            switch input {
            case .bytes(let bytes): writer.yield(.output(bytes))
            case .resize(let size): writer.yield(.errors(ByteBuffer(string: "\(size.columns)x\(size.rows)")))
            case .end:
                isOver.store(true, ordering: .relaxed)
                writer.yield(.exited(7))
            }
            return true
        }

        func end(_ reason: String) {
            guard !isOver.exchange(true, ordering: .relaxed) else { return }
            ended(reason)
            writer.yield(.failed(reason))
        }
    }
}
