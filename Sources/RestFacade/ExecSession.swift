import NIOCore
import OrchestryModel

/// What comes of a command.
package enum ExecOutput: Sendable {
    case output(ByteBuffer)
    case errors(ByteBuffer)
    /// It has ended, 0…255. The last.
    case exited(Int)
    /// The session has ended otherwise, for this reason. The last.
    case failed(String)
}

/// What a client sends a command.
package enum ExecInput: Sendable {
    case bytes(ByteBuffer)
    case end
    case resize(ExecCommand.Size)
}

/// A command that was begun, for one client. One task sends, one asks.
package protocol ExecSession: Sendable {
    /// Waits for what comes next.
    func next() async -> ExecOutput
    /// Returns when there is room for more; false: the session is over.
    func send(_ input: ExecInput) async -> Bool
    /// Ends the session, and with it the command's standard input. Does nothing when it is over.
    func end(_ reason: String)
}

/// One message of the WebSocket of `GET /apps/{name}/exec`: a byte for the channel, and what is for it.
package enum ExecMessage: Hashable, Sendable {
    /// What is offered and chosen as `Sec-WebSocket-Protocol`.
    package static let subprotocol = "v1.exec.orchestry"
    /// A message's length at most.
    package static let mostBytes = 1 << 20

    /// For the command's standard input.
    case input(ByteBuffer)
    case output(ByteBuffer)
    case errors(ByteBuffer)
    /// From the client: `{"resize": {"columns": …, "rows": …}}`, `{"endOfInput": true}`. To it, as the last message:
    /// `{"exit": STATUS}`, `{"error": "REASON"}`.
    case control(JSONValue)

    /// - Throws: `ExecMessage.Malformed`.
    package init(_ bytes: ByteBuffer) throws {
        var bytes = bytes
        switch bytes.readInteger(as: UInt8.self) {
        case 0: self = .input(bytes)
        case 1: self = .output(bytes)
        case 2: self = .errors(bytes)
        case 3:
            // What exactly is wrong with it helps nobody.
            guard let value = try? JSONValue(json: bytes.readableBytesView) else {
                throw Malformed(description: "a message of channel 3 is not JSON")
            }
            self = .control(value)
        case let other:
            throw Malformed(description: "there is no channel \(other.map { "\($0)" } ?? "in an empty message")")
        }
    }

    package var bytes: ByteBuffer {
        func channel(_ number: UInt8, _ content: ByteBuffer) -> ByteBuffer {
            var message = ByteBuffer(integer: number)
            message.writeImmutableBuffer(content)
            return message
        }
        switch self {
        case .input(let content): return channel(0, content)
        case .output(let content): return channel(1, content)
        case .errors(let content): return channel(2, content)
        case .control(let value): return channel(3, ByteBuffer(bytes: value.jsonBytes()))
        }
    }

    package struct Malformed: Error, CustomStringConvertible {
        package var description: String
    }
}
