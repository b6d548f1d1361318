import Crypto
import Dispatch
import Foundation
import OrchestryModel
import Synchronization

/// Writes the rows of one partition into an archive folder, on a queue of its own. Nothing counts until `finish`.
package final class ArchiveWriter: Sendable {
    private struct State {
        var file: GzipFile
        var hash = SHA256()
        var rows = 0
        var bytes = 0
        var firstID: Int64?
        var lastID: Int64 = 0
    }

    private let folder: ArchiveFolder
    private let table: String
    private let partition: String
    private let node: NodeID
    private let partial: String
    private let queue: DispatchQueue
    private let state: Mutex<State>

    /// Makes the folders that are missing, and an empty file.
    /// - Parameter node: which writes. Another's, which led before and does not know yet, may be at the same partition in
    ///   the same folder.
    package static func make(
        folder: ArchiveFolder, table: String, partition: String, node: NodeID
    ) async throws(ArchiveError) -> ArchiveWriter {
        let queue = DispatchQueue(label: "orchestry.archive")
        return try await queue.result { () throws(ArchiveError) in
            try ArchiveWriter(folder: folder, table: table, partition: partition, node: node, queue: queue)
        }
    }

    private init(
        folder: ArchiveFolder, table: String, partition: String, node: NodeID, queue: DispatchQueue
    ) throws(ArchiveError) {
        self.folder = folder
        self.table = table
        self.partition = partition
        self.node = node
        self.queue = queue
        partial = "\(folder.folder(of: table))/\(partition).\(node).partial"
        try ArchiveFolder.makeFolder(folder.folder(of: table))
        state = Mutex(State(file: try GzipFile(path: partial)))
    }

    /// - Parameter rows: in the order of their ids, above those before; the lines without line ends.
    package func append(_ rows: [(id: Int64, line: String)]) async throws(ArchiveError) {
        try await onQueue { state throws(ArchiveError) in
            var bytes: [UInt8] = []
            for row in rows {
                bytes += row.line.utf8
                bytes.append(UInt8(ascii: "\n"))
                state.firstID = state.firstID ?? row.id
                state.lastID = row.id
            }
            state.rows += rows.count
            state.bytes += bytes.count
            state.hash.update(data: bytes)
            try state.file.write(bytes)
        }
    }

    /// Puts the file and its manifest in their places, on the disk, and reads it back.
    /// - Returns: what was archived; nil: there were no rows, and there is no file.
    /// - Throws: `.damaged` when what is read is not what was written.
    package func finish(
        starts: WallTime, ends: WallTime, at time: WallTime
    ) async throws(ArchiveError) -> ArchiveManifest? {
        let (folder, table, partition, node, partial) = (folder, table, partition, node, partial)
        return try await onQueue { state throws(ArchiveError) in
            try state.file.finish()
            guard let firstID = state.firstID else {
                unlink(partial)
                return nil
            }
            let found = try Tally(reading: partial)
            let manifest = ArchiveManifest(
                table: table, partition: partition, starts: starts, ends: ends, rows: state.rows, firstID: firstID,
                lastID: state.lastID, contentBytes: state.bytes,
                contentHash: Tally.hexadecimal(state.hash.finalize()), fileHash: found.fileHash,
                fileBytes: found.fileBytes, node: node, madeAt: time)
            try folder.publish(manifest, from: partial)
            try folder.verify(manifest)
            return manifest
        }
    }

    /// Leaves nothing behind of what is not finished.
    package func cancel() {
        queue.async { [partial] in _ = unlink(partial) }
    }

    /// Removes what was finished, because its partition holds more by now.
    package func withdraw(_ manifest: ArchiveManifest) {
        queue.async { [folder] in folder.remove(manifest) }
    }

    private func onQueue<Value: Sendable>(
        _ body: @escaping @Sendable (inout State) throws(ArchiveError) -> Value
    ) async throws(ArchiveError) -> Value {
        try await queue.result { () throws(ArchiveError) in
            let result: Result<Value, ArchiveError> = self.state.withLock { state in
                do throws(ArchiveError) { return .success(try body(&state)) } catch { return .failure(error) }
            }
            return try result.get()
        }
    }
}

extension DispatchQueue {
    /// Runs something that may wait for a disk, away from the threads that run tasks.
    fileprivate func result<Value: Sendable>(
        _ body: @escaping @Sendable () throws(ArchiveError) -> Value
    ) async throws(ArchiveError) -> Value {
        let result: Result<Value, ArchiveError> = await withCheckedContinuation { continuation in
            async {
                do throws(ArchiveError) {
                    continuation.resume(returning: .success(try body()))
                } catch {
                    continuation.resume(returning: .failure(error))
                }
            }
        }
        return try result.get()
    }
}
