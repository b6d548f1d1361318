import Logging
import OrchestryModel
import ProxyConfig

/// Routes whose files could not be written: a full disk is no reason to send requests to instances that are gone. nginx is
/// told, and the files follow when there is room; an nginx that starts before that is told within a second.
extension NginxEngine {
    /// Notes that the files are older than what is served, if there is an nginx that can be told without them.
    /// - Throws: what `write` throws, if there is none.
    func storing(_ table: RoutingTable, _ write: () throws(ProxyError) -> Void) throws(ProxyError) {
        do throws(ProxyError) {
            try write()
        } catch {
            guard error.code == .inputOutput, let running, running.master != nil, running.layout.mode == .lua else {
                throw error
            }
            if unstored == nil {
                logger.error(
                    "The routes can't be stored; nginx is told of them all the same. Free space on the disk.",
                    metadata: ["error": "\(error)"])
            }
            unstored = table
        }
    }

    /// Each second while the files are older than what is served.
    func storeAgain() {
        guard let table = unstored, let layout = running?.layout else { return }
        let structure = ProxyStructure(table, reserved: layout.reserved, certificates: certificates.fingerprints)
        let text = MembershipText.render(structure.routes, version: table.version)
        do throws(ProxyError) {
            // First: nginx may have been started meanwhile, with the old file.
            try tell(text, layout)
            try StoredTable.save(table, layout.folder)
            try Files.replace(layout.membershipPath, text.utf8, mode: 0o600)
            unstored = nil
            logger.notice("The routes are stored again")
        } catch {
            logger.debug("The routes can't be stored yet", metadata: ["error": "\(error)"])
        }
    }
}
