/* linux/vfio.h: planes and EDID of graphics devices. */

#define VFIO_REGION_TYPE_GFX 1
#define VFIO_REGION_SUBTYPE_GFX_EDID 1

struct vfio_region_gfx_edid {
    uint32_t edid_offset;
    uint32_t edid_max_size;
    uint32_t edid_size;
    uint32_t max_xres;
    uint32_t max_yres;
    uint32_t link_state;
};

#define VFIO_DEVICE_GFX_LINK_STATE_UP 1
#define VFIO_DEVICE_GFX_LINK_STATE_DOWN 2

struct vfio_device_gfx_plane_info {
    uint32_t argsz;
    uint32_t flags;
    uint32_t drm_plane_type;
    uint32_t drm_format;
    uint64_t drm_format_mod;
    uint32_t width;
    uint32_t height;
    uint32_t stride;
    uint32_t size;
    uint32_t x_pos;
    uint32_t y_pos;
    uint32_t x_hot;
    uint32_t y_hot;
    union {
        uint32_t region_index;
        uint32_t dmabuf_id;
    };
    uint32_t reserved;
};

#define VFIO_GFX_PLANE_TYPE_PROBE (1 << 0)
#define VFIO_GFX_PLANE_TYPE_DMABUF (1 << 1)
#define VFIO_GFX_PLANE_TYPE_REGION (1 << 2)
#define VFIO_DEVICE_QUERY_GFX_PLANE _IO(';', 114)
#define VFIO_DEVICE_GET_GFX_DMABUF _IO(';', 115)
