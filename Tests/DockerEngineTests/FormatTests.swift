import DockerEngine
import Foundation
import NIOCore
import OrchestryModel
import Testing

/// The engine's formats, without an engine.
@Suite struct FormatTests {
    @Test(arguments: [
        ("1970-01-01T00:00:00Z", 0), ("1970-01-01T00:00:01.5Z", 1_500),
        ("2024-02-29T12:34:56.789123456Z", 1_709_210_096_789),
        ("2024-03-01T00:00:00.000000001+02:00", 1_709_244_000_000), ("2024-02-29T18:30:00-05:30", 1_709_251_200_000),
        ("2100-03-01T00:00:00.07Z", 4_107_542_400_070), ("0001-01-01T00:00:00Z", -62_135_596_800_000),
    ])
    func `times are read`(text: String, milliseconds: Int64) {
        #expect(EngineTime.parse(text) == WallTime(milliseconds: milliseconds))
    }

    @Test(arguments: [
        "", "2024-02-29", "2024-02-29T12:34:56", "2024-13-01T00:00:00Z", "2024-01-01T00:00:00.Z",
        "x024-01-01T00:00:00Z", "2024-01-01T00:00:00Zx",
    ])
    func `what is not a time is refused`(text: String) { #expect(EngineTime.parse(text) == nil) }

    private func frame(_ stream: UInt8, _ text: String) -> [UInt8] {
        let length = UInt32(text.utf8.count)
        return [stream, 0, 0, 0] + (0..<4).map { UInt8(truncatingIfNeeded: length >> (24 - 8 * $0)) } + Array(text.utf8)
    }

    @Test(arguments: [1, 2, 7, 8, 9, 4_096])
    func `log frames are put together from any pieces`(size: Int) throws {
        let stamp = "2024-02-29T12:34:56.789123456Z"
        let later = "2024-02-29T12:34:57.000000000Z"
        let bytes =
            frame(1, "\(stamp) one\n") + frame(2, "\(stamp) two \u{FC}\n") + frame(1, "\(stamp) begun, ")
            + frame(2, "\(later) between\n") + frame(1, "\(later) continued\r\n") + frame(1, "\(stamp) \n")
            + frame(1, "\(later) never ended")
        var decoder = LogDecoder(isRaw: false)
        var lines: [LogLine] = []
        for start in stride(from: 0, to: bytes.count, by: size) {
            lines += try decoder.feed(ByteBuffer(bytes: bytes[start..<min(start + size, bytes.count)]))
        }
        lines += decoder.finish()
        let first = WallTime(milliseconds: 1_709_210_096_789)
        let second = WallTime(milliseconds: 1_709_210_097_000)
        #expect(
            lines == [
                LogLine(time: first, nanoseconds: 123_456, stream: .stdout, text: "one"),
                LogLine(time: first, nanoseconds: 123_456, stream: .stderr, text: "two ü"),
                LogLine(time: second, stream: .stderr, text: "between"),
                LogLine(time: first, nanoseconds: 123_456, stream: .stdout, text: "begun, continued"),
                LogLine(time: first, nanoseconds: 123_456, stream: .stdout, text: ""),
                LogLine(time: second, stream: .stdout, text: "never ended"),
            ])
    }

    @Test func `a terminal's log has no frames`() throws {
        var decoder = LogDecoder(isRaw: true)
        var lines = try decoder.feed(ByteBuffer(string: "2024-02-29T12:34:56.789Z one\r\n2024-02-29T12:3"))
        lines += try decoder.feed(ByteBuffer(string: "4:56.789Z two"))
        lines += decoder.finish()
        #expect(lines.map(\.text) == ["one", "two"])
    }

    @Test func `what is not a log is refused, and long lines are cut`() throws {
        var decoder = LogDecoder(isRaw: false)
        #expect(throws: LogDecoder.Malformed.self) { try decoder.feed(ByteBuffer(string: "<html><body>")) }
        var second = LogDecoder(isRaw: false)
        let part = frame(1, "2024-02-29T12:34:56.789Z " + String(repeating: "x", count: 16_000))
        for _ in 0..<10 { #expect(try second.feed(ByteBuffer(bytes: part)).isEmpty) }
        #expect(second.finish().map(\.text.utf8.count) == [LogDecoder.maximumText])
    }

    @Test(arguments: [
        ("web", "web", "latest"), ("web:v2", "web", "v2"),
        ("registry:5000/team/web", "registry:5000/team/web", "latest"),
        ("registry:5000/team/web:v2", "registry:5000/team/web", "v2"), ("web@sha256:ab", "web", "sha256:ab"),
        ("registry:5000/web:v2@sha256:ab", "registry:5000/web", "sha256:ab"),
    ])
    func `image references are split`(text: String, name: String, tag: String) {
        #expect(ImageReference(text).name == name && ImageReference(text).tag == tag)
    }

    @Test func `addresses come from the upper half, and only free ones`() throws {
        var generator = SystemRandomNumberGenerator()
        let range = try #require(AddressRange("172.18.0.0/29"))
        let upper = (4...6).compactMap { AddressRange.address("172.18.0.\($0)/29") }
        #expect(upper.count == 3)
        for left in upper {
            #expect(range.freeAddress(taken: Set(upper).subtracting([left]), using: &generator) == left)
        }
        #expect(range.freeAddress(taken: Set(upper), using: &generator) == nil)
        #expect(AddressRange.text(upper[0]) == "172.18.0.4")
        for text in ["", "172.18.0.0", "172.18.0/16", "fd00::/64", "1.2.3.4/33", "1.2.3.256/16"] {
            #expect(AddressRange(text) == nil, "\(text)")
        }
    }

    struct UserRow: Sendable {
        var spec: String?
        var image: String
        var allowRoot: Bool
        var user: String?
    }

    @Test(arguments: [
        UserRow(spec: nil, image: "", allowRoot: false, user: "65534:65534"),
        UserRow(spec: nil, image: "root", allowRoot: false, user: "65534:65534"),
        UserRow(spec: nil, image: "0:0", allowRoot: false, user: "65534:65534"),
        UserRow(spec: nil, image: "root:staff", allowRoot: false, user: "65534:65534"),
        UserRow(spec: nil, image: "app", allowRoot: false, user: nil),
        UserRow(spec: nil, image: "1000:0", allowRoot: false, user: nil),
        UserRow(spec: nil, image: "", allowRoot: true, user: nil),
        UserRow(spec: "10:20", image: "root", allowRoot: false, user: "10:20"),
    ])
    func `an image's root becomes nobody`(_ row: UserRow) {
        let assignment = EngineFixture.assignment {
            $0.security.user = row.spec
            $0.security.allowRoot = row.allowRoot
        }
        let options = ContainerOptions(
            assignment: assignment, epoch: Epoch(1),
            configuration: EngineConfiguration(cluster: ClusterID(unchecked: "c"), node: NodeID(unchecked: "n")),
            imageUser: row.image, address: nil)
        #expect(options.user == row.user)
    }
}
