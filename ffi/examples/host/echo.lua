-- Echoes to so many connections, a coroutine each: lua_host echo.lua COUNT
local count = tonumber((...))
local served = 0

local function serve(client)
  while true do
    local bytes, why = receive(client, 1)
    if bytes == nil then send(client, why .. "\n") end
    if type(bytes) ~= "string" or not send(client, bytes) then break end
  end
  close(client)
  served = served + 1
end

local listener, port = listen()
print("listening on port " .. port)
io.stdout:flush()
for _ = 1, count do spawn(serve, assert(accept(listener))) end
while served < count do sleep(0.001) end
print("served " .. served)
