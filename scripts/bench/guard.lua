-- SPDX-License-Identifier: Apache-2.0
-- The job of the benchmark as one would do it in nginx with Lua: a token is
-- base64(HMAC-SHA256(key, sid ":" address)). libcrypto through LuaJIT's FFI, with one context that
-- keeps its key: the fastest way known. For the contestants nginx-lua and nginx130-lua only.
local ffi = require "ffi"
local encode = ngx.encode_base64

ffi.cdef [[
typedef struct hmac_ctx_st HMAC_CTX;
typedef struct evp_md_st EVP_MD;
HMAC_CTX *HMAC_CTX_new(void);
int HMAC_Init_ex(HMAC_CTX *ctx, const void *key, int len, const EVP_MD *md, void *engine);
int HMAC_Update(HMAC_CTX *ctx, const unsigned char *data, size_t len);
int HMAC_Final(HMAC_CTX *ctx, unsigned char *md, unsigned int *len);
const EVP_MD *EVP_sha256(void);
]]

local C = ffi.C
local mac = ffi.new("unsigned char[32]")
local size = ffi.new("unsigned int[1]")
local ctx
local M = {}

function M.init(path)
	local f = assert(io.open(path))
	local key = f:read("*l")
	f:close()
	ctx = C.HMAC_CTX_new()
	assert(C.HMAC_Init_ex(ctx, key, #key, C.EVP_sha256(), nil) == 1)
end

local function token(sid)
	local text = sid .. ":" .. ngx.var.remote_addr
	C.HMAC_Init_ex(ctx, nil, 0, nil, nil)
	C.HMAC_Update(ctx, text, #text)
	C.HMAC_Final(ctx, mac, size)
	return encode(ffi.string(mac, 32))
end

function M.request()
	local sid = ngx.var.cookie_sid
	if not sid or ngx.var.cookie_sid_HMAC == token(sid) then
		return
	end
	local kept = {}
	for pair in ngx.var.http_cookie:gmatch("[^;]+") do
		pair = pair:gsub("^%s+", "")
		if pair:sub(1, 4) ~= "sid=" then
			kept[#kept + 1] = pair
		end
	end
	if #kept == 0 then
		ngx.req.clear_header("Cookie")
	else
		ngx.req.set_header("Cookie", table.concat(kept, "; "))
	end
end

function M.response()
	local set = ngx.header.set_cookie
	if not set then
		return
	end
	if type(set) == "string" then
		set = { set }
	end
	local out = {}
	for _, line in ipairs(set) do
		out[#out + 1] = line
		local sid = line:match("^sid=([^;]+)")
		if sid then
			out[#out + 1] = "sid_HMAC=" .. token(sid) .. "; HttpOnly; Secure; Path=/"
		end
	end
	ngx.header.set_cookie = out
end

return M
