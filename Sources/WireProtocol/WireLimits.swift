/// Every limit of the protocol in one place; `proto-spec/framing.md` and `messages.md` give the same numbers.
public enum WireLimits {
    /// A frame's length field counts at least a type and a one-byte correlation id.
    public static let minimumFrame: UInt32 = 2
    /// Longest frame (length field) until the Hello exchange is over.
    public static let helloFrame: UInt32 = 1024
    /// Longest frame on the control channel.
    public static let controlFrame: UInt32 = 1 << 20
    /// Longest frame on the bulk channel.
    public static let bulkFrame: UInt32 = 16 << 20
    /// Forwarded requests and responses up to this length travel on control, longer ones on bulk, where they hold up
    /// no heartbeat.
    public static let forwardOnControl = 64 << 10

    /// Requests, errors, histogram counts: more than any second can hold, and no sum of them can overflow.
    static let counter: UInt64 = 1 << 32
    /// Revisions, replicas, restarts and the like.
    static let smallInteger: UInt64 = (1 << 31) - 1
    /// 9999-12-31 23:59:59.999 UTC.
    static let wallMilliseconds: UInt64 = 253_402_300_799_999

    /// 2⁵³−1: exact in every language's numbers.
    static let memoryBytes: UInt64 = (1 << 53) - 1

    static let identifierBytes = 63
    static let instanceBytes = 80
    static let hostBytes = 255
    static let urlBytes = 256
    /// Nonces and proofs of the Hello exchange.
    public static let proofBytes = 32
    static let addressBytes = 45
    static let pathBytes = 1024
    static let kindBytes = 200
    static let messageBytes = 4096
    static let documentTextBytes = 4 << 20
    static let documentKeyBytes = 1024
    static let documentDepth = 64
    static let logLineBytes = 64 << 10

    static let statusClasses = 5
    static let instancesPerSample = 4096
    static let samplesPerBatch = 10_000
    static let eventsPerBatch = 10_000
    static let instancesPerInventory = 10_000
    static let routes = 10_000
    public static let heldApps = 1_000
    static let holdSeconds: ClosedRange<UInt64> = 1...300
    static let holdLimit: ClosedRange<UInt64> = 1...100_000
    static let hostsPerRoute = 256
    static let targetsPerRoute = 4096
    static let logLines = 100_000
    /// One more than an app may name in its environment: the registry's.
    static let secretsPerRun = 17
    static let secretBoxBytes = 65_536
    /// A certificate and its key.
    static let secretsPerRoute = 2
    static let addressRanges = 128
    /// An IPv6 address of eight groups and a prefix length.
    static let addressRangeBytes = 43
    static let maintenanceBytes = 200
    static let documentItems = 1 << 20

    static let intervalSeconds = 0.001...86_400.0
    static let requestSeconds = 0.0...1e12
    static let percent = 0.0...1e6
}
