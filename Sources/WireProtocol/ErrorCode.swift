/// What an Error frame says went wrong. Numbers are never reused; receivers keep ones they do not know.
public struct ErrorCode: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    public let rawValue: UInt16
    public init(rawValue: UInt16) { self.rawValue = rawValue }

    // The bytes are wrong: the sender closes after it.
    public static let frameTooShort = ErrorCode(rawValue: 1)
    public static let frameTooLong = ErrorCode(rawValue: 2)
    public static let unknownType = ErrorCode(rawValue: 3)
    public static let truncated = ErrorCode(rawValue: 4)
    public static let spareBytes = ErrorCode(rawValue: 5)
    public static let badVarint = ErrorCode(rawValue: 6)
    public static let badText = ErrorCode(rawValue: 7)
    public static let tooLong = ErrorCode(rawValue: 8)
    public static let badValue = ErrorCode(rawValue: 9)
    public static let reservedBits = ErrorCode(rawValue: 10)

    // The connection is refused: the sender closes after it.
    public static let badMagic = ErrorCode(rawValue: 20)
    public static let noCommonVersion = ErrorCode(rawValue: 21)
    public static let clusterMismatch = ErrorCode(rawValue: 22)
    /// The certificate does not name the node, or the node is not the one that was dialled.
    public static let identityMismatch = ErrorCode(rawValue: 23)
    public static let duplicateNode = ErrorCode(rawValue: 24)
    /// The proof of the shared secret is missing or wrong.
    public static let notAuthenticated = ErrorCode(rawValue: 25)
    public static let helloTimeout = ErrorCode(rawValue: 26)
    /// A message that may not come now, or not on this channel.
    public static let unexpectedMessage = ErrorCode(rawValue: 27)
    /// This pair is connected from the other side.
    public static let wrongDirection = ErrorCode(rawValue: 28)
    public static let shuttingDown = ErrorCode(rawValue: 29)
    /// Nothing more comes on this connection: another one of the same channel goes on where it ends.
    public static let replaced = ErrorCode(rawValue: 30)
    /// The sender's peer does or asks for more than the sender is ready to keep up with.
    public static let overload = ErrorCode(rawValue: 31)

    // Replies to a request: the connection stays.
    /// The receiver can't answer this request now; asking again may help.
    public static let unavailable = ErrorCode(rawValue: 40)
    /// The receiver does not know what was asked for.
    public static let notFound = ErrorCode(rawValue: 41)
    /// The receiver failed while answering.
    public static let failed = ErrorCode(rawValue: 42)

    static let names: [UInt16: String] = [
        1: "frame-too-short", 2: "frame-too-long", 3: "unknown-type", 4: "truncated", 5: "spare-bytes",
        6: "bad-varint", 7: "bad-text", 8: "too-long", 9: "bad-value", 10: "reserved-bits", 20: "bad-magic",
        21: "no-common-version", 22: "cluster-mismatch", 23: "identity-mismatch", 24: "duplicate-node",
        25: "not-authenticated", 26: "hello-timeout", 27: "unexpected-message", 28: "wrong-direction",
        29: "shutting-down", 30: "replaced", 31: "overload", 40: "unavailable", 41: "not-found", 42: "failed",
    ]

    /// The name `errors.md` uses, or `code-<number>`.
    public var description: String { Self.names[rawValue] ?? "code-\(rawValue)" }
}
