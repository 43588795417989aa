import io.netty.bootstrap.Bootstrap;
import io.netty.channel.Channel;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInitializer;
import io.netty.channel.ChannelOption;
import io.netty.channel.EventLoopGroup;
import io.netty.channel.IoHandlerFactory;
import io.netty.channel.MultiThreadIoEventLoopGroup;
import io.netty.channel.SimpleChannelInboundHandler;
import io.netty.channel.epoll.EpollDatagramChannel;
import io.netty.channel.epoll.EpollIoHandler;
import io.netty.channel.epoll.EpollSocketChannel;
import io.netty.channel.nio.NioIoHandler;
import io.netty.channel.socket.DatagramChannel;
import io.netty.channel.socket.SocketChannel;
import io.netty.channel.socket.nio.NioDatagramChannel;
import io.netty.channel.socket.nio.NioSocketChannel;
import io.netty.handler.codec.http.DefaultFullHttpRequest;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpClientCodec;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpObjectAggregator;
import io.netty.handler.codec.http.HttpVersion;
import io.netty.resolver.AddressResolverGroup;
import io.netty.resolver.DefaultAddressResolverGroup;
import io.netty.resolver.dns.DnsAddressResolverGroup;
import io.netty.resolver.dns.DnsServerAddressStreamProviders;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/** Netty by its two transports, and with the JDK's resolver or its own. */
final class Netty {
    private final Class<? extends SocketChannel> stream;
    private final EventLoopGroup loop;
    private final AddressResolverGroup<?> resolver;

    Netty(boolean epoll, boolean ownResolver) {
        IoHandlerFactory way = epoll ? EpollIoHandler.newFactory() : NioIoHandler.newFactory();
        Class<? extends DatagramChannel> datagram = epoll ? EpollDatagramChannel.class : NioDatagramChannel.class;
        stream = epoll ? EpollSocketChannel.class : NioSocketChannel.class;
        loop = new MultiThreadIoEventLoopGroup(1, way);
        resolver = ownResolver
                ? new DnsAddressResolverGroup(datagram, DnsServerAddressStreamProviders.platformDefault())
                : DefaultAddressResolverGroup.INSTANCE;
    }

    String ask(String host, int port) throws Exception {
        CompletableFuture<String> answer = new CompletableFuture<>();
        ChannelInitializer<Channel> pipeline = new ChannelInitializer<>() {
            @Override
            protected void initChannel(Channel channel) {
                channel.pipeline().addLast(new HttpClientCodec(), new HttpObjectAggregator(65_536), new Reader(answer));
            }
        };
        Channel channel = new Bootstrap().group(loop).channel(stream).resolver(resolver).handler(pipeline)
                .option(ChannelOption.CONNECT_TIMEOUT_MILLIS, (int) Client.PATIENCE.toMillis())
                .connect(host, port).sync().channel();
        DefaultFullHttpRequest request = new DefaultFullHttpRequest(HttpVersion.HTTP_1_1, HttpMethod.GET, "/whoami");
        request.headers().set("Host", host).set("Connection", "close");
        channel.writeAndFlush(request);
        return answer.get(Client.PATIENCE.toSeconds(), TimeUnit.SECONDS);
    }

    private static final class Reader extends SimpleChannelInboundHandler<FullHttpResponse> {
        private final CompletableFuture<String> answer;

        Reader(CompletableFuture<String> answer) {
            this.answer = answer;
        }

        @Override
        protected void channelRead0(ChannelHandlerContext context, FullHttpResponse response) {
            answer.complete(response.content().toString(StandardCharsets.UTF_8));
        }

        @Override
        public void exceptionCaught(ChannelHandlerContext context, Throwable error) {
            answer.completeExceptionally(error);
        }

        @Override
        public void channelInactive(ChannelHandlerContext context) {
            answer.completeExceptionally(new java.io.IOException("closed without an answer"));
        }
    }
}
