import Foundation
import OrchestryModel

/// The last table a folder's nginx was given, kept so that a node that starts again can serve before it hears from
/// the cluster.
enum StoredTable {
    /// - Returns: nil when there is none, or none that can be read: the cluster will send it again.
    static func load(_ folder: String) -> RoutingTable? {
        guard let bytes = Files.read(folder + "/table.json") else { return nil }
        // An unreadable one, of an older version say, is as good as none.
        return try? JSONDecoder().decode(RoutingTable.self, from: Data(bytes))
    }

    static func save(_ table: RoutingTable, _ folder: String) throws(ProxyError) {
        let data: Data
        do {
            data = try JSONEncoder().encode(table)
        } catch {
            throw ProxyError(.inputOutput, while: "storing the routes", "\(error)")
        }
        try Files.replace(folder + "/table.json", data, mode: 0o600)
    }
}
