-- Events for wrk, as Ceph's gateway sends them: each of another upload, until EVENTS_COUNT are queued.
-- wrk gives each of its threads an own copy of this script, so wrk has to run with one thread.

local count = tonumber(os.getenv("EVENTS_COUNT"))
local pause_ms = tonumber(os.getenv("EVENTS_PAUSE_MS"))
local name = os.getenv("EVENTS_NAME")
local made, queued = -1, 0

wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["X-Trigger-Token"] = os.getenv("EVENTS_TOKEN")

local form = [[{"Records":[{"eventVersion":"2.2","eventSource":"ceph:s3","awsRegion":"",
"eventTime":"2026-11-21T05:04:59.196130Z","eventName":"ObjectCreated:Put","userIdentity":{"principalId":"demo"},
"requestParameters":{"sourceIPAddress":""},"responseElements":{"x-amz-request-id":
"7ab4744a-906a-4f49-a131-a99598848d61.4114.14058279549645537603","x-amz-id-2":"1012-default-default"},
"s3":{"s3SchemaVersion":"1.0","configurationId":"all","bucket":{"name":"%s","ownerIdentity":{"principalId":"demo"},
"arn":"arn:aws:s3:::%s","id":"7ab4744a-906a-4f49-a131-a99598848d61.4116.2"},"object":{"key":"course-%d/%s-%d.mp4",
"size":1048576,"eTag":"336311a016184326ddbdd61edd4eeb52","versionId":"","sequencer":"7B26016B0FB7C60B","metadata":
[{"key":"x-amz-content-sha256","val":"fc11d6f28e59d3cc33c0b14ceb644bf0902ebd63d61218dffe9e7dac7c254542"},
{"key":"x-amz-date","val":"20261121T050459Z"}],"tags":[]}},"eventId":"1795237499.%s.%d","opaqueData":""}]}]]
local bucket = os.getenv("EVENTS_BUCKET")

function request()
    -- wrk calls this once without sending the result, so the first event is made twice. When all are
    -- made, the last one is repeated until the answers to the others have arrived.
    made = made + 1
    local number = math.min(math.max(made, 1), count)
    local body = string.format(form, bucket, bucket, number % 10, name, number, name, number)
    return wrk.format(nil, nil, nil, body)
end

function delay()
    return pause_ms
end

function response(status, headers, body)
    if status ~= 200 then
        io.stderr:write("the trigger answered ", status, ": ", body, "\n")
        os.exit(1)
    end
    if string.find(body, '"queued":1', 1, true) then
        queued = queued + 1
    end
    if queued >= count then
        os.exit(0) -- because wrk.thread:stop() makes wrk wait until its time is over
    end
end

if pause_ms == 0 then
    delay = nil
end
