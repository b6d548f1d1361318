import Foundation
import Logging
import OrchestryModel
import ProxyConfig

/// Certificates of apps, and the list of nodes whose REST facade there is.
extension NginxEngine {
    /// Puts new certificates into their files. That is before the reload that shows them, and harmless without it: each
    /// has passed a test of its own.
    func takeCertificates(
        of table: RoutingTable, _ material: [AppName: AppCertificate]
    ) throws(ProxyError) -> [AppName: CertificateState] {
        guard let running else { return [:] }
        var states: [AppName: CertificateState] = [:]
        for route in table.routes where route.routing.tls != nil {
            states[route.app] = try certificates.take(
                material[route.app], for: route.app, hosts: route.routing.hosts, now: Date()
            ) { path throws(ProxyError) in
                let test = running.layout.folder + "/tls/test.conf"
                let renderer = ConfigRenderer(layout: running.layout)
                try Files.replace(test, renderer.certificateTest(path).utf8, mode: 0o600)
                try running.process.test(test)
            }
        }
        return states
    }

    // MARK: - Facades

    /// A nginx that starts before anybody was announced leads to this node's own facade.
    func prepareFacades(_ layout: ProxyLayout) throws(ProxyError) {
        guard let api = layout.api, layout.mode == .lua, Files.read(layout.facadesPath) == nil else { return }
        let own = FacadeList.Facade(
            node: NodeID(unchecked: "this"), endpoint: Endpoint(host: api.ownHost, port: api.ownPort))
        try Files.replace(
            layout.facadesPath, FacadeList(facades: [own], leader: nil).render().utf8, mode: 0o600)
    }

    func announce(_ facades: FacadeList) {
        guard settings.api != nil else { return }
        pendingFacades = facades
        pushFacades()
    }

    func pushFacades() {
        guard let facades = pendingFacades, let running, running.layout.mode == .lua, running.master != nil else {
            return
        }
        let text = facades.render()
        do throws(ProxyError) {
            try Files.replace(running.layout.facadesPath, text.utf8, mode: 0o600)
            let answer = try LocalHTTP.exchange(
                socket: running.layout.adminSocketPath, method: "PUT", target: "/facades", body: text, timeout: 1)
            guard answer.status == 200 else {
                throw ProxyError(
                    .badAnswer, while: "updating the list of facades", "\(answer.status) \(answer.body.prefix(200))")
            }
            pendingFacades = nil
        } catch {
            // The ticker tries it again; until then every facade forwards to the leader.
            logger.debug("nginx did not take the list of facades", metadata: ["error": "\(error)"])
        }
    }
}
