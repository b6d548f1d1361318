import NIOCore
import OrchestryModel

/// What the two nodes of an exec session say to each other once the command has been taken on
/// (`proto-spec/messages.md`, "Commands in instances"). The client's node asks, the instance's node runs.
public enum ExecFrame: Hashable, Sendable {
    // Asking → running.
    /// 1…32,768 bytes for the command's standard input.
    case input(ByteBuffer)
    /// No more input.
    case endOfInput
    case resize(ExecCommand.Size)

    // Running → asking.
    /// 1…32,768 bytes of its standard output, or of its terminal.
    case output(ByteBuffer)
    /// 1…32,768 bytes of its standard error.
    case errors(ByteBuffer)
    /// The command has ended; all it wrote has been sent. The last frame.
    case exited(status: Int)

    // Both ways.
    /// So much more may be sent, in `cost`.
    case credit(Int)
    /// Nothing more comes, for this reason: the client has gone, the engine failed. The last frame.
    case ended(reason: String)

    public static let mostBytes = 32 << 10
    /// What a frame counts beside the bytes it carries, so that small ones are no way around the window.
    public static let overhead = 16

    /// What it takes of the window; 0: goes at any time.
    public var cost: Int {
        switch self {
        case .input(let bytes), .output(let bytes), .errors(let bytes): bytes.readableBytes + Self.overhead
        case .endOfInput, .resize: Self.overhead
        case .exited, .credit, .ended: 0
        }
    }

    enum Kind: UInt8 {
        case input = 0
        case output = 1
        case errors = 2
        case resize = 3
        case endOfInput = 4
        case credit = 5
        case exited = 6
        case ended = 7
    }
}

extension ByteBuffer {
    mutating func readExecFrame() throws(WireError) -> ExecFrame {
        guard let kind = ExecFrame.Kind(rawValue: try readByte()) else { throw .badValue(field: "exec.kind") }
        switch kind {
        case .input: return .input(try readExecBytes())
        case .output: return .output(try readExecBytes())
        case .errors: return .errors(try readExecBytes())
        case .resize:
            let columns = Int(try readVarint("exec.columns", in: 1...65_535))
            return .resize(.init(columns: columns, rows: Int(try readVarint("exec.rows", in: 1...65_535))))
        case .endOfInput: return .endOfInput
        case .credit: return .credit(Int(try readVarint("exec.credit", in: 1...UInt64(ExecFlow.window))))
        case .exited: return .exited(status: Int(try readVarint("exec.status", in: 0...255)))
        case .ended: return .ended(reason: try readText("exec.reason", limit: WireLimits.messageBytes))
        }
    }

    private mutating func readExecBytes() throws(WireError) -> ByteBuffer {
        let length = try readVarint()
        guard length <= UInt64(ExecFrame.mostBytes) else { throw .tooLong(field: "exec.bytes") }
        guard length > 0 else { throw .badValue(field: "exec.bytes") }
        guard let bytes = readSlice(length: Int(length)) else { throw .truncated }
        return bytes
    }

    mutating func writeExecFrame(_ frame: ExecFrame) throws(WireError) {
        switch frame {
        case .input(let bytes): try writeExecBytes(.input, bytes)
        case .output(let bytes): try writeExecBytes(.output, bytes)
        case .errors(let bytes): try writeExecBytes(.errors, bytes)
        case .resize(let size):
            guard size.isValid else { throw .badValue(field: "exec.columns") }
            writeInteger(ExecFrame.Kind.resize.rawValue)
            writeVarint(UInt64(size.columns))
            writeVarint(UInt64(size.rows))
        case .endOfInput: writeInteger(ExecFrame.Kind.endOfInput.rawValue)
        case .credit(let bytes):
            guard (1...ExecFlow.window).contains(bytes) else { throw .badValue(field: "exec.credit") }
            writeInteger(ExecFrame.Kind.credit.rawValue)
            writeVarint(UInt64(bytes))
        case .exited(let status):
            guard (0...255).contains(status) else { throw .badValue(field: "exec.status") }
            writeInteger(ExecFrame.Kind.exited.rawValue)
            writeVarint(UInt64(status))
        case .ended(let reason):
            writeInteger(ExecFrame.Kind.ended.rawValue)
            writeCutText(reason, limit: WireLimits.messageBytes)
        }
    }

    private mutating func writeExecBytes(_ kind: ExecFrame.Kind, _ bytes: ByteBuffer) throws(WireError) {
        guard bytes.readableBytes > 0 else { throw .badValue(field: "exec.bytes") }
        guard bytes.readableBytes <= ExecFrame.mostBytes else { throw .tooLong(field: "exec.bytes") }
        writeInteger(kind.rawValue)
        writeVarint(UInt64(bytes.readableBytes))
        writeImmutableBuffer(bytes)
    }
}
