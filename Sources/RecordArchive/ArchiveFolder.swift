import Crypto
import Foundation
import OrchestryModel

/// The folder that rows go to before they are dropped: one gzip file of JSON lines and one manifest for each partition,
/// in a folder for each table. Blocking: to be used on a thread that may wait for a disk.
package struct ArchiveFolder: Sendable {
    package let path: String

    package init(path: String) { self.path = path }

    func folder(of table: String) -> String { "\(path)/\(table)" }

    /// Puts a finished file in its place, and its manifest after it, all of it on the disk.
    func publish(_ manifest: ArchiveManifest, from partial: String) throws(ArchiveError) {
        let folder = folder(of: manifest.table)
        try Self.move(partial, to: "\(folder)/\(manifest.name).jsonl.gz")
        let text = manifest.json.jsonText(pretty: true) + "\n"
        let target = "\(folder)/\(manifest.name).manifest.json"
        try Self.writeDurably(Array(text.utf8), to: target + ".partial")
        try Self.move(target + ".partial", to: target)
        try Self.synchronize(folder)
        // The table's folder may be new, too.
        try Self.synchronize(path)
    }

    /// Removes what was archived of a partition that could not be dropped.
    func remove(_ manifest: ArchiveManifest) {
        for suffix in [".manifest.json", ".jsonl.gz"] {
            // What stays is a second copy of rows that a later archive has too.
            try? FileManager.default.removeItem(atPath: "\(folder(of: manifest.table))/\(manifest.name)\(suffix)")
        }
    }

    /// Reads a file back from the disk and compares it with its manifest.
    package func verify(_ manifest: ArchiveManifest) throws(ArchiveError) {
        let file = "\(folder(of: manifest.table))/\(manifest.name).jsonl.gz"
        let found = try Tally(reading: file)
        func compare<Value: Equatable>(_ what: String, _ found: Value, _ expected: Value) throws(ArchiveError) {
            guard found == expected else {
                throw .damaged(path: file, reason: "\(what): \(found), its manifest says \(expected)")
            }
        }
        try compare("rows", found.rows, manifest.rows)
        try compare("bytes of content", found.contentBytes, manifest.contentBytes)
        try compare("SHA-256 of content", found.contentHash, manifest.contentHash)
        try compare("bytes of file", found.fileBytes, manifest.fileBytes)
        try compare("SHA-256 of file", found.fileHash, manifest.fileHash)
    }

    /// What a look at the whole folder found.
    package struct Report: Sendable {
        package var good: [ArchiveManifest] = []
        package var problems: [ArchiveError] = []
    }

    /// Verifies every file there is, by its manifest.
    package func check() throws(ArchiveError) -> Report {
        var report = Report()
        for table in try Self.names(in: path) where !table.hasPrefix(".") {
            let names = try Self.names(in: folder(of: table))
            for name in names where name.hasSuffix(".manifest.json") {
                let file = "\(folder(of: table))/\(name)"
                guard let data = FileManager.default.contents(atPath: file), let json = try? JSONValue(json: data),
                    let manifest = ArchiveManifest(json)
                else {
                    report.problems.append(.damaged(path: file, reason: "it is not a manifest"))
                    continue
                }
                do throws(ArchiveError) {
                    try verify(manifest)
                    report.good.append(manifest)
                } catch {
                    report.problems.append(error)
                }
            }
            let known = Set(report.good.map { "\($0.name).jsonl.gz" })
            for name in names where name.hasSuffix(".jsonl.gz") && !known.contains(name) {
                guard !names.contains(name.replacing(".jsonl.gz", with: ".manifest.json")) else { continue }
                report.problems.append(.damaged(path: "\(folder(of: table))/\(name)", reason: "it has no manifest"))
            }
        }
        return report
    }

    // MARK: Files

    static func makeFolder(_ path: String) throws(ArchiveError) {
        do {
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        } catch {
            throw .file(path: path, reason: "the folder can't be made: \(error.localizedDescription)")
        }
    }

    private static func names(in folder: String) throws(ArchiveError) -> [String] {
        do {
            return try FileManager.default.contentsOfDirectory(atPath: folder).sorted()
        } catch {
            throw .file(path: folder, reason: error.localizedDescription)
        }
    }

    private static func move(_ source: String, to target: String) throws(ArchiveError) {
        guard rename(source, target) == 0 else { throw .system(target) }
    }

    private static func writeDurably(_ bytes: [UInt8], to path: String) throws(ArchiveError) {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o640)
        guard descriptor >= 0 else { throw .system(path) }
        defer { close(descriptor) }
        guard write(descriptor, bytes, bytes.count) == bytes.count, fsync(descriptor) == 0 else { throw .system(path) }
    }

    /// A new name is on the disk only when its folder is.
    private static func synchronize(_ folder: String) throws(ArchiveError) {
        let descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .system(folder) }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw .system(folder) }
    }
}

/// What a file holds, counted while it is read.
struct Tally {
    var rows = 0
    var contentBytes = 0
    var contentHash = ""
    var fileBytes = 0
    var fileHash = ""

    init(reading path: String) throws(ArchiveError) {
        var (file, content) = (SHA256(), SHA256())
        var (rows, contentBytes, fileBytes) = (0, 0, 0)
        try GzipReader.read(
            path,
            raw: { bytes in
                fileBytes += bytes.count
                file.update(bufferPointer: UnsafeRawBufferPointer(bytes))
            },
            content: { bytes in
                contentBytes += bytes.count
                for byte in bytes where byte == UInt8(ascii: "\n") { rows += 1 }
                content.update(bufferPointer: UnsafeRawBufferPointer(bytes))
            })
        (self.rows, self.contentBytes, self.fileBytes) = (rows, contentBytes, fileBytes)
        contentHash = Self.hexadecimal(content.finalize())
        fileHash = Self.hexadecimal(file.finalize())
    }

    static func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
}
