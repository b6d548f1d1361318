import NIOCore
import Testing
import WireProtocol

import struct Foundation.Data
import class Foundation.FileManager
import struct Foundation.URL

/// One file of `proto-spec/vectors`: annotated hex, a divider, then what a peer must make of it.
struct Vector: Sendable, CustomTestStringConvertible {
    let name: String
    let limit: UInt32
    let bytes: [UInt8]
    /// The lines below the divider.
    let expected: String
    var testDescription: String { name }

    static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appendingPathComponent("proto-spec/vectors")

    static let all: [Vector] = {
        let files = (try? FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)) ?? []
        // An unreadable file becomes an empty vector, which fails its test by name.
        return files.filter { $0.pathExtension == "txt" }.sorted { $0.path < $1.path }.map(Vector.init(file:))
    }()

    init(file: URL) {
        name = file.deletingPathExtension().lastPathComponent
        let text = String(decoding: (try? Data(contentsOf: file)) ?? Data(), as: UTF8.self)
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        let divider = lines.firstIndex(of: "----") ?? lines.endIndex
        var limit = WireLimits.bulkFrame
        var bytes: [UInt8] = []
        for line in lines[..<divider] {
            if line.hasPrefix("@limit hello") { limit = WireLimits.helloFrame }
            if line.hasPrefix("@limit control") { limit = WireLimits.controlFrame }
            guard !line.hasPrefix("@"), !line.hasPrefix("#") else { continue }
            let code = line.prefix { $0 != "#" }
            bytes += code.split(separator: " ").compactMap { UInt8($0, radix: 16) }
        }
        self.limit = limit
        self.bytes = bytes
        expected = lines[divider...].dropFirst().joined(separator: "\n")
    }
}
