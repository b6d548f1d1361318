import Foundation
import ProxyConfig

/// Apps to proxy to: one nginx of its own, each port of which answers with its letter and does as the path says.
final class Backend: Sendable {
    let ports: [Int]
    private let process: Process
    private let folder: URL

    static let letters = ["A", "B", "C", "D"]

    init(count: Int = 2, withLua extra: String = "") throws {
        ports = try PortHolder.free(count)
        folder = URL(fileURLWithPath: "/tmp/orc-b-\(UUID().uuidString.prefix(8))")
        try FileManager.default.createDirectory(
            at: folder.appendingPathComponent("lua"), withIntermediateDirectories: true)
        for file in LuaSources.files {
            try Data(file.bytes).write(to: folder.appendingPathComponent("lua/\(file.name)"))
        }
        try Data(Self.config(folder.path, ports, extra).utf8).write(to: folder.appendingPathComponent("nginx.conf"))
        process = Process()
        process.executableURL = URL(fileURLWithPath: Installed.nginx)
        process.arguments = ["-p", folder.path + "/", "-c", folder.path + "/nginx.conf", "-e", "error.log"]
        try process.run()
        let deadline = ContinuousClock.now + .seconds(10)
        for port in ports {
            while (try? Connection(port: port)) == nil && ContinuousClock.now < deadline { usleep(2000) }
        }
    }

    deinit {
        // It is one process, and may have inherited a mask that keeps gentler signals out.
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
        // Left in /tmp if it can't be removed; harms nothing.
        try? FileManager.default.removeItem(at: folder)
    }

    private static func config(_ folder: String, _ ports: [Int], _ extra: String) -> String {
        """
        load_module /usr/lib/nginx/modules/ndk_http_module.so;
        load_module /usr/lib/nginx/modules/ngx_http_lua_module.so;
        daemon off; master_process off; worker_processes 1; pid nginx.pid; error_log error.log;
        events { worker_connections 1024; }
        http {
          access_log off; lua_package_path "\(folder)/lua/?.lua;/usr/share/lua/5.1/?.lua;;";
          lua_shared_dict orchestry 1m;
          client_body_temp_path tmp1; proxy_temp_path tmp2; fastcgi_temp_path tmp3;
          uwsgi_temp_path tmp4; scgi_temp_path tmp5;
          \(zip(ports, letters).map { server(port: $0, letter: $1, extra) }.joined(separator: "\n"))
        }
        """
    }

    private static func server(port: Int, letter: String, _ extra: String) -> String {
        """
        server {
          listen 127.0.0.1:\(port);
          keepalive_requests 100000;
          location / { add_header Content-Length 2; return 200 "\(letter)\\n"; }
          location /status/ { content_by_lua_block {
            ngx.status = tonumber(ngx.var.uri:match("%d+")); ngx.print("\(letter)\\n") } }
          location /sleep/ { content_by_lua_block {
            ngx.sleep(tonumber(ngx.var.uri:match("[%d.]+$"))); ngx.print("\(letter)\\n") } }
          location /echo { content_by_lua_block {
            ngx.req.read_body(); ngx.print(ngx.req.raw_header(), ngx.req.get_body_data() or "") } }
          location /elsewhere { add_header X-Accel-Redirect /; return 200 "no\\n"; }
          location /hangup { return 444; }
          location /websocket { content_by_lua_block {
            ngx.status = 101; ngx.header.Upgrade = "websocket"; ngx.header.Connection = "upgrade"
            ngx.send_headers(); ngx.flush(true)
            local socket = ngx.req.socket(true)
            while true do
              local line = socket:receive()
              if not line then return end
              socket:send("echo " .. line .. "\\n")
            end } }
          \(extra)
        }
        """
    }
}

enum Installed {
    static let nginx = "/usr/sbin/nginx"
    /// Whether nginx with its Lua module is there, as the tests need it.
    static let lua =
        [nginx, "/usr/lib/nginx/modules/ngx_http_lua_module.so", "/usr/share/lua/5.1/resty/core.lua"]
        .allSatisfy { FileManager.default.fileExists(atPath: $0) }
}
