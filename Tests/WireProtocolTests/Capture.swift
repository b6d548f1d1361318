import Foundation

/// A capture file of made-up TCP connections to the cluster port, in the classic pcap format (link type 101: raw IP).
struct Capture {
    static let clusterPort: UInt16 = 7100

    /// One connection, dialled from `port`. Sequence numbers go on with what is sent.
    struct Connection {
        let port: UInt16
        fileprivate var sent: UInt32 = 1_000
        fileprivate var answered: UInt32 = 5_000
        init(port: UInt16) { self.port = port }
    }

    private(set) var bytes: [UInt8] = []
    /// Packets so far: tshark's number of the latest one.
    private(set) var packets = 0

    init() {
        for word: UInt32 in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 262_144, 101] { little(word) }
    }

    /// The SYN of both sides: tells the dissector that it sees the connection from its beginning.
    mutating func open(_ connection: inout Connection) {
        packet(connection, [], toAcceptor: true, flags: 0x02, sequence: connection.sent &- 1)
        packet(connection, [], toAcceptor: false, flags: 0x12, sequence: connection.answered &- 1)
    }

    /// - Returns: the packet's number.
    @discardableResult
    mutating func send(_ payload: some Sequence<UInt8>, on connection: inout Connection, toAcceptor: Bool = true) -> Int
    {
        let payload = Array(payload)
        packet(
            connection, payload, toAcceptor: toAcceptor, flags: 0x18,
            sequence: toAcceptor ? connection.sent : connection.answered)
        if toAcceptor {
            connection.sent &+= UInt32(payload.count)
        } else {
            connection.answered &+= UInt32(payload.count)
        }
        return packets
    }

    func write(to path: String) throws { try Data(bytes).write(to: URL(fileURLWithPath: path)) }

    private mutating func packet(
        _ connection: Connection, _ payload: [UInt8], toAcceptor: Bool, flags: UInt8, sequence: UInt32
    ) {
        packets += 1
        let length = UInt16(40 + payload.count)
        for word in [1_700_000_000, UInt32(packets), UInt32(length), UInt32(length)] { little(word) }
        // IPv4: version and header length, length, identification, no fragment, 64 hops, TCP; checksums are left out.
        bytes += [0x45, 0] + big(length) + [0, 1, 0, 0, 64, 6, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1]
        let ports = [connection.port, Self.clusterPort]
        bytes += (toAcceptor ? ports : ports.reversed()).flatMap(big)
        bytes += big(sequence) + big(toAcceptor ? connection.answered : connection.sent)
        bytes += [0x50, flags, 0xff, 0xff, 0, 0, 0, 0] + payload
    }

    private mutating func little(_ word: UInt32) { bytes += big(word).reversed() }
    private func big<Word: FixedWidthInteger>(_ word: Word) -> [UInt8] {
        withUnsafeBytes(of: word.bigEndian) { Array($0) }
    }
}
