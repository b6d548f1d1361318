import Crypto
import Foundation
import OrchestryModel

/// A backup of control state: one JSON document that says what it is, and carries a checksum of the rest of itself.
package struct ControlBackup: Sendable {
    package static let format = "orchestry-backup"
    /// Of the document's form. A release reads its own and earlier ones.
    package static let version = 1

    /// `sha256:` and 64 hexadecimal digits.
    package let checksum: String
    /// The schema's version of the database it was made from.
    package let schema: Int
    package let cluster: String
    /// Rows by table.
    package let tables: [String: [JSONValue]]

    /// The document.
    /// - Parameter tables: rows by table.
    package static func document(
        tables: [String: [JSONValue]], schema: Int, cluster: ClusterID, release: String, at time: WallTime
    ) -> JSONValue {
        let keys = Set((tables["secrets"] ?? []).compactMap { $0["key_id"]?.stringValue }).sorted()
        var members: [String: JSONValue] = [
            "format": .string(format), "version": JSONValue(version), "schema": JSONValue(schema),
            "cluster": .string(cluster.rawValue), "release": .string(release), "made_at_ms": .int(time.milliseconds),
            "secret_keys": .array(keys.map { .string($0) }),
            "tables": .object(tables.mapValues { .array($0) }),
        ]
        members["checksum"] = .string(checksum(of: members))
        return .object(members)
    }

    /// - Throws: `ValidationError` for anything but a whole, unchanged backup of a version this release knows.
    package init(_ document: JSONValue) throws(ValidationError) {
        func refuse(_ field: String, _ rule: String) -> ValidationError { ValidationError([Violation(field, rule)]) }
        guard var members = document.objectValue, members["format"]?.stringValue == Self.format else {
            throw refuse("format", "must be \"\(Self.format)\": this is not a backup")
        }
        guard let version = members["version"]?.intValue, version <= Self.version, version >= 1 else {
            throw refuse(
                "version", "must be 1 to \(Self.version): a newer release made this backup, restore it with that one")
        }
        guard let checksum = members["checksum"]?.stringValue else {
            throw refuse("checksum", "is required: the backup is not whole")
        }
        members["checksum"] = nil
        guard checksum == Self.checksum(of: members) else {
            throw refuse("checksum", "must be that of the content: the backup was changed or damaged after it was made")
        }
        guard let schema = members["schema"]?.intValue, let cluster = members["cluster"]?.stringValue,
            let tables = members["tables"]?.objectValue
        else { throw refuse("tables", "and schema and cluster are required") }
        self.checksum = checksum
        self.schema = schema
        self.cluster = cluster
        self.tables = tables.mapValues { $0.arrayValue ?? [] }
    }

    private static func checksum(of members: [String: JSONValue]) -> String {
        "sha256:" + Tally.hexadecimal(SHA256.hash(data: JSONValue.object(members).jsonBytes()))
    }
}
