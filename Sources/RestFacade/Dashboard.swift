import HTTPTypes
import Hummingbird
import NIOCore
import OrchestryModel

/// The dashboard: a page and what belongs to it, hand-written, from this program itself. It asks the REST API for all that
/// it shows, so it needs no rights of its own.
enum Dashboard {
    private struct File {
        var type: String
        var bytes: [UInt8]
        /// Changes with the content (FNV-1a), so that a browser takes up a new release at once and else nothing.
        var tag: String

        init(_ type: String, _ bytes: [UInt8]) {
            self.type = type
            self.bytes = bytes
            var hash: UInt64 = 0xCBF2_9CE4_8422_2325
            for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
            tag = "\"\(String(hash, radix: 16))\""
        }
        static func script(_ bytes: [UInt8]) -> File { File("text/javascript; charset=utf-8", bytes) }
    }

    private static let page = File("text/html; charset=utf-8", PackageResources.ui_html)
    private static let files: [String: File] = [
        "ui.css": File("text/css; charset=utf-8", PackageResources.ui_css),
        "icon.svg": File("image/svg+xml", PackageResources.icon_svg),
        "app.js": .script(PackageResources.app_js), "api.js": .script(PackageResources.api_js),
        "dom.js": .script(PackageResources.dom_js), "list.js": .script(PackageResources.list_js),
        "detail.js": .script(PackageResources.detail_js), "charts.js": .script(PackageResources.charts_js),
        "logs.js": .script(PackageResources.logs_js),
        "cluster.js": .script(PackageResources.cluster_js), "dialogs.js": .script(PackageResources.dialogs_js),
    ]

    /// Only files of ours run or are shown, and no other site can put the page into a frame or be sent anything.
    private static let policy =
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
        + "form-action 'none'; frame-ancestors 'none'"

    /// - Parameter file: nil: the page itself.
    /// - Throws: `Problem` 404.
    static func response(to request: Request, file name: String?) throws -> Response {
        guard let file = name.map({ files[$0] }) ?? page else {
            throw Problem(
                status: 404, code: "no-such-path", title: "Not Found",
                detail: "The dashboard has no file of that name. It begins at /ui.")
        }
        var headers: HTTPFields = [
            .contentType: file.type, .cacheControl: "no-cache", .eTag: file.tag, .contentSecurityPolicy: policy,
            .xContentTypeOptions: "nosniff",
        ]
        headers[HTTPField.Name("Referrer-Policy")!] = "no-referrer"  // A literal that is a header's name.
        if request.headers[.ifNoneMatch] == file.tag { return Response(status: .notModified, headers: headers) }
        return Response(
            status: .ok, headers: headers, body: ResponseBody(byteBuffer: ByteBuffer(bytes: file.bytes)))
    }
}
