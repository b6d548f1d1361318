import OrchestryModel

/// What is in an archive file, in a file beside it: `<name>.manifest.json`.
package struct ArchiveManifest: Hashable, Sendable {
    /// Whose rows they are: `events`.
    package var table: String
    /// The partition they were in: `events_20231114`.
    package var partition: String
    package var starts: WallTime
    /// Exclusive.
    package var ends: WallTime
    /// Lines of the file, each a row as a JSON object.
    package var rows: Int
    package var firstID: Int64
    package var lastID: Int64
    /// Of the content, as it was written.
    package var contentBytes: Int
    /// Hexadecimal SHA-256 of the content, as it was written.
    package var contentHash: String
    /// Hexadecimal SHA-256 of the compressed file, for `sha256sum`.
    package var fileHash: String
    package var fileBytes: Int
    /// The node that made it.
    package var node: NodeID
    package var madeAt: WallTime

    /// `<partition>-<first id>-<last id>`: other rows of the same time never overwrite these.
    package var name: String { "\(partition)-\(firstID)-\(lastID)" }

    package var json: JSONValue {
        [
            "format": "orchestry-archive", "version": 1, "table": .string(table), "partition": .string(partition),
            "from_ms": .int(starts.milliseconds), "to_ms": .int(ends.milliseconds), "rows": JSONValue(rows),
            "first_id": .int(firstID), "last_id": .int(lastID), "file": .string(name + ".jsonl.gz"),
            "content_bytes": JSONValue(contentBytes), "content_sha256": .string(contentHash),
            "file_bytes": JSONValue(fileBytes), "file_sha256": .string(fileHash), "node": .string(node.rawValue),
            "made_at_ms": .int(madeAt.milliseconds),
        ]
    }

    /// - Returns: nil unless it is a manifest of version 1 with all members.
    package init?(_ json: JSONValue) {
        func int64(_ name: String) -> Int64? { json[name]?.intValue.map { Int64($0) } }
        guard json["format"] == "orchestry-archive", json["version"]?.intValue == 1,
            let table = json["table"]?.stringValue, let partition = json["partition"]?.stringValue,
            let starts = int64("from_ms"), let ends = int64("to_ms"), let rows = json["rows"]?.intValue,
            let firstID = int64("first_id"), let lastID = int64("last_id"),
            let contentBytes = json["content_bytes"]?.intValue, let contentHash = json["content_sha256"]?.stringValue,
            let fileBytes = json["file_bytes"]?.intValue, let fileHash = json["file_sha256"]?.stringValue,
            let node = json["node"]?.stringValue, let madeAt = int64("made_at_ms")
        else { return nil }
        self.init(
            table: table, partition: partition, starts: WallTime(milliseconds: starts),
            ends: WallTime(milliseconds: ends), rows: rows, firstID: firstID, lastID: lastID,
            contentBytes: contentBytes, contentHash: contentHash, fileHash: fileHash, fileBytes: fileBytes,
            node: NodeID(unchecked: node), madeAt: WallTime(milliseconds: madeAt))
    }

    package init(
        table: String, partition: String, starts: WallTime, ends: WallTime, rows: Int, firstID: Int64, lastID: Int64,
        contentBytes: Int, contentHash: String, fileHash: String, fileBytes: Int, node: NodeID, madeAt: WallTime
    ) {
        self.table = table
        self.partition = partition
        self.starts = starts
        self.ends = ends
        self.rows = rows
        self.firstID = firstID
        self.lastID = lastID
        self.contentBytes = contentBytes
        self.contentHash = contentHash
        self.fileHash = fileHash
        self.fileBytes = fileBytes
        self.node = node
        self.madeAt = madeAt
    }
}
